package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	networktypes "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// proxy forwards what the firewall cannot redirect: connections to the host's
// IPv6 addresses, to containers that have IPv4 only. All its sockets are watched
// by one goroutine, so that a published port costs a descriptor and no more
// until somebody connects. It is safe for concurrent use.
type proxy struct {
	home   *os.File
	log    *slog.Logger
	poll   int // epoll descriptor
	wake   int // eventfd that ends the watch
	cancel context.CancelFunc
	ctx    context.Context // ends with the proxy; for its own goroutines only
	wg     sync.WaitGroup

	mu      sync.Mutex
	served  map[int]*served // by descriptor
	started bool
	closed  bool

	udpMu sync.Mutex // guards every served socket's flows
}

// served is one socket with what it serves.
type served struct {
	fd     int
	proto  networktypes.IPProtocol
	target netip.AddrPort

	mu     sync.RWMutex // held for reading while fd is used
	closed bool
	conns  map[io.Closer]struct{}  // what goes when the port goes
	flows  map[udpFlow]*udpSession // under the proxy's udpMu

	dialMu  sync.Mutex // taken after mu
	dials   int        // connections that are being made
	resting bool       // too many are: the socket is not watched
}

// newProxy makes a proxy whose connections to containers start in home.
func newProxy(home *os.File, log *slog.Logger) (*proxy, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make port proxy: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make port proxy: %w", err), unix.Close(poll))
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &proxy{home: home, log: log, poll: poll, wake: wake, ctx: ctx, cancel: cancel, served: map[int]*served{}}, nil
}

// add serves a bound socket, which is the proxy's from now on.
func (p *proxy) add(fd int, proto networktypes.IPProtocol, target netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("the port proxy is closed")
	}
	p.served[fd] = &served{fd: fd, proto: proto, target: target}
	err := unix.EpollCtl(p.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	if err != nil {
		delete(p.served, fd)
		return fmt.Errorf("watch published port: %w", err)
	}
	if !p.started {
		p.started = true
		p.wg.Go(p.watch)
	}
	return nil
}

// remove closes a socket with all connections that came by it.
func (p *proxy) remove(fd int) {
	p.mu.Lock()
	s := p.served[fd]
	delete(p.served, fd)
	p.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// close ends the proxy with all that it serves.
func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	all := p.served
	p.served = map[int]*served{}
	p.mu.Unlock()
	p.cancel()
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes it
	for _, s := range all {
		s.close()
	}
	p.wg.Wait()
	_, _ = unix.Close(p.poll), unix.Close(p.wake)
}

func (s *served) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	_ = unix.Close(s.fd) // nothing is buffered for writing
	for c := range s.conns {
		_ = c.Close() // the container is gone
	}
}

// keep registers a connection to be closed with the port; false if that is gone.
func (s *served) keep(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = map[io.Closer]struct{}{}
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *served) forget(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// drop closes a connection that is done.
func (s *served) drop(c io.Closer) {
	s.forget(c)
	_ = c.Close() // it may be closed already, with the port
}

// watch waits for clients until the proxy is closed.
func (p *proxy) watch() {
	events := make([]unix.EpollEvent, 64)
	for p.ctx.Err() == nil {
		n, err := unix.EpollWait(p.poll, events, -1)
		if err != nil && err != unix.EINTR {
			p.log.Error("wait for connections to published ports", "error", err)
			return
		}
		for _, e := range events[:max(n, 0)] {
			p.mu.Lock()
			s := p.served[int(e.Fd)]
			p.mu.Unlock()
			if s == nil {
				continue
			}
			if err := p.serve(s); err != nil {
				p.log.Warn("accept on published port", "target", s.target, "error", err)
				p.pause() // such as too many open files: it would be ready again at once
			}
		}
	}
}

func (p *proxy) serve(s *served) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil
	}
	if s.proto == networktypes.UDP {
		return p.receive(s)
	}
	return p.accept(s)
}

func (p *proxy) pause() {
	select {
	case <-p.ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}
