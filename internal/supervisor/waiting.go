package supervisor

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// waiter is a client that was attached before the container's start. It is watched
// until then: one that goes costs no descriptor, and is not taken for one that has
// ended the container's stdin.
type waiter struct {
	*sink
	watched chan struct{} // closed when it is not any more
}

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
		w := &waiter{k, make(chan struct{})}
		c.waiting = append(c.waiting, w)
		go c.watch(w)
	}
	c.mu.Unlock()
	s.mu.Unlock()
	if io != nil && !io.attach(k) {
		k.finish() // nothing will come any more
	}
}

// watch ends when the client goes, or when unwatch ends it.
func (c *container) watch(w *waiter) {
	defer close(w.watched)
	if !w.awaitHangup() {
		return
	}
	c.mu.Lock()
	c.waiting = slices.DeleteFunc(c.waiting, func(o *waiter) bool { return o == w })
	c.mu.Unlock()
	_ = w.conn.Close() // the client is gone
	c.srv.release(c)
}

// awaitHangup waits until the client has gone. It takes nothing of what it sends:
// the poller tells of every change, also when there is unread input.
func (w *waiter) awaitHangup() (gone bool) {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return true
	}
	_ = raw.Read(func(fd uintptr) bool {
		gone = w.hungUp(int(fd))
		return gone
	})
	return gone
}

// hungUp tells whether the client has closed its socket for good. One that has
// sent input before is there until the container has read that, as with Docker.
func (w *waiter) hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	_, _ = unix.Poll(p, 0) // on an error it is there
	if p[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0 {
		return false
	}
	unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return !w.want.Stdin || err != nil || unread == 0
}

// unwatch tells whether the client is still there, and who has the waiter may use
// its connection.
func (w *waiter) unwatch() bool {
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // it fails if closed, and so does the next
	<-w.watched
	return w.conn.SetReadDeadline(time.Time{}) == nil
}

// takeWaiting gives the clients that wait for the start, for the caller to attach
// or close.
func (c *container) takeWaiting() []*sink {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	var there []*sink
	for _, w := range waiting {
		if !w.unwatch() {
			continue
		}
		if w.gone() {
			_ = w.conn.Close()
			continue
		}
		there = append(there, w.sink)
	}
	return there
}

func (w *waiter) gone() (gone bool) {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) { gone = w.hungUp(int(fd)) })
	return gone || err != nil
}

func (c *container) dropWaiting() {
	for _, k := range c.takeWaiting() {
		k.finish() // the daemon tells its client why
	}
}
