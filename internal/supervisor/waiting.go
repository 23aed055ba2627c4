package supervisor

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// attachTo connects a client with a container, now or when it starts. Both locks
// are held so that the container cannot be released meanwhile.
func (s *Server) attachTo(id string, k *sink) {
	s.mu.Lock()
	c := s.obtainLocked(id)
	c.mu.Lock()
	var io *streams
	if c.run != nil && c.exit == nil {
		io = c.run.io
	} else {
		k.watched = make(chan struct{})
		c.waiting = append(c.waiting, k)
		go c.watch(k)
	}
	c.mu.Unlock()
	s.mu.Unlock()
	if io != nil && !io.attach(k) {
		k.finish() // nothing will come any more
	}
}

// watch waits with a client for the container's start, until it goes or unwatch
// comes: so one that goes costs no descriptor, and is not taken for one that has
// ended the container's stdin.
func (c *container) watch(k *sink) {
	defer close(k.watched)
	raw, err := k.conn.SyscallConn()
	gone := err != nil
	look := func(fd uintptr) bool {
		gone = k.hungUp(int(fd))
		return gone
	}
	// Nothing is taken of what the client sends: the poller tells of every change,
	// also when there is unread input.
	if !gone && raw.Read(look) != nil {
		gone = raw.Control(func(fd uintptr) { look(fd) }) != nil || gone
	}
	if !gone {
		return
	}
	c.mu.Lock()
	if i := slices.Index(c.waiting, k); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	c.mu.Unlock()
	_ = k.conn.Close()
	c.srv.release(c)
}

// hungUp tells whether the client has closed its socket for good. One that has
// sent input before is there until the container has read that, as with Docker.
func (k *sink) hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, _ = unix.Poll(p, 0) // on an error it is there
	if p[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0 {
		return false
	}
	unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return !k.want.Stdin || err != nil || unread == 0
}

// unwatch tells whether the client is still there: then its connection is the
// caller's.
func (k *sink) unwatch() bool {
	_ = k.conn.SetReadDeadline(time.Unix(1, 0)) // it fails if closed, and so does the next
	<-k.watched
	return k.conn.SetReadDeadline(time.Time{}) == nil
}

// takeWaiting gives the clients that wait for the start, for the caller to attach
// or let go.
func (c *container) takeWaiting() []*sink {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	return slices.DeleteFunc(waiting, func(k *sink) bool { return !k.unwatch() })
}

func (c *container) dropWaiting() {
	for _, k := range c.takeWaiting() {
		k.finish() // the daemon tells its client why
	}
}
