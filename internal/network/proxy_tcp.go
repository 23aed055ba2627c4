package network

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/netns"
)

// dialTimeout bounds the wait for a container, which is one link away.
const dialTimeout = 10 * time.Second

const (
	acceptsPerTurn = 64  // keeps one busy port from starving the others
	maxDials       = 256 // of one port at a time; more clients wait in the kernel
)

// accept takes the waiting clients of a TCP port. The caller holds s.mu.
func (p *proxy) accept(s *served) error {
	for range acceptsPerTurn {
		if ok, err := p.beginDial(s); !ok {
			return err
		}
		fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == nil {
			p.wg.Go(func() { p.forward(s, fd) })
			continue
		}
		s.dialMu.Lock()
		s.dials--
		s.dialMu.Unlock()
		switch err {
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return err
		}
	}
	return nil
}

// beginDial counts one more connection that is being made to the container. If
// there are too many, the port is no longer watched until endDial.
func (p *proxy) beginDial(s *served) (bool, error) {
	s.dialMu.Lock()
	defer s.dialMu.Unlock()
	if s.dials < maxDials {
		s.dials++
		return true, nil
	}
	if err := p.interest(s, 0); err != nil {
		return false, err
	}
	s.resting = true
	return false, nil
}

// endDial is called once for each connection, made or not.
func (p *proxy) endDial(s *served) {
	s.mu.RLock() // keeps s.fd what it is
	defer s.mu.RUnlock()
	s.dialMu.Lock()
	defer s.dialMu.Unlock()
	s.dials--
	if !s.resting || s.closed {
		return
	}
	s.resting = false
	if err := p.interest(s, unix.EPOLLIN); err != nil {
		p.log.Warn("watch published port", "target", s.target, "error", err)
	}
}

func (p *proxy) interest(s *served, events uint32) error {
	return unix.EpollCtl(p.poll, unix.EPOLL_CTL_MOD, s.fd, &unix.EpollEvent{Events: events, Fd: int32(s.fd)})
}

// forward copies between a client and the container until both are done.
func (p *proxy) forward(s *served, fd int) {
	client, server := p.connect(s, fd)
	p.endDial(s)
	if client == nil {
		return
	}
	defer s.drop(client)
	defer s.drop(server)
	var both sync.WaitGroup
	both.Go(func() { pump(server, client) })
	both.Go(func() { pump(client, server) })
	both.Wait()
}

// connect makes both sides ready, or closes them. The caller drops them.
func (p *proxy) connect(s *served, fd int) (client, server *net.TCPConn) {
	client, err := asTCP(os.NewFile(uintptr(fd), "client"))
	if err != nil {
		return nil, nil
	}
	if !s.keep(client) {
		_ = client.Close() // the port is gone
		return nil, nil
	}
	if server, err = p.dial(s); err == nil && s.keep(server) {
		return client, server
	}
	if err == nil {
		_ = server.Close() // the port is gone
	}
	_ = client.SetLinger(0) // refuse, as the container did
	s.drop(client)
	return nil, nil
}

// asTCP makes a connection of a socket, which it closes.
func asTCP(f *os.File) (*net.TCPConn, error) {
	c, err := net.FileConn(f) // has a descriptor of its own
	_ = f.Close()             // nothing is buffered
	if err != nil {
		return nil, err
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a TCP connection"), c.Close())
	}
	return t, nil
}

// pump copies one direction and passes its end on.
func pump(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = from.CloseRead()
	}
	_ = to.CloseWrite() // a connection that is gone already needs no end
}

// dial connects to the container. Only the socket is made in the home namespace,
// where it stays: whoever waits in there keeps a thread of his own.
func (p *proxy) dial(s *served) (*net.TCPConn, error) {
	fd := -1
	err := netns.Do(p.home, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, sockaddr(s.target))
	f := os.NewFile(uintptr(fd), "server") // only now: the poller reports an unconnected socket at once
	if err != nil && err != unix.EINPROGRESS {
		return nil, errors.Join(err, f.Close())
	}
	if !s.keep(f) {
		return nil, errors.Join(os.ErrClosed, f.Close())
	}
	err = waitConnected(f)
	s.forget(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return asTCP(f)
}

// waitConnected waits until a socket that is connecting has done so. It ends
// early if the file is closed.
func waitConnected(f *os.File) error {
	if err := f.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, failed = connected(int(fd))
		return done
	})
	return errors.Join(err, failed)
}

// connected tells whether a socket is done with connecting, and how.
func connected(fd int) (bool, error) {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, err
	}
	if code != 0 {
		return true, unix.Errno(code)
	}
	_, err = unix.Getpeername(fd)
	if err == unix.ENOTCONN {
		return false, nil
	}
	return true, err
}
