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

// acceptsPerTurn keeps one busy port from starving the others.
const acceptsPerTurn = 64

// accept takes the waiting clients of a TCP port. The caller holds s.mu.
func (p *proxy) accept(s *served) error {
	for range acceptsPerTurn {
		fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR || err == unix.ECONNABORTED:
			continue
		case err != nil:
			return err
		}
		p.wg.Go(func() { p.forward(s, fd) })
	}
	return nil
}

// forward copies between a client and the container until both are done.
func (p *proxy) forward(s *served, fd int) {
	f := os.NewFile(uintptr(fd), "client")
	c, err := net.FileConn(f)
	_ = f.Close() // c has a descriptor of its own
	client, ok := c.(*net.TCPConn)
	if err != nil || !ok {
		return
	}
	defer client.Close()
	if !s.keep(client) {
		return
	}
	defer s.forget(client)
	server, err := p.dial(s)
	if err != nil {
		_ = client.SetLinger(0) // refuse, as the container did
		return
	}
	defer server.Close()
	if !s.keep(server) {
		return
	}
	defer s.forget(server)
	var both sync.WaitGroup
	both.Go(func() { pump(server, client) })
	both.Go(func() { pump(client, server) })
	both.Wait()
}

// pump copies one direction and passes its end on.
func pump(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = from.CloseRead()
	}
	_ = to.CloseWrite() // a connection that is gone already needs no end
}

func (p *proxy) dial(s *served) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	var c net.Conn
	err := netns.Do(p.home, func() (err error) {
		c, err = d.DialContext(p.ctx, "tcp4", s.target.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a TCP connection"), c.Close())
	}
	return t, nil
}
