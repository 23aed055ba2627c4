package network

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/netns"
)

// Limits of UDP forwarding.
const (
	udpIdle         = 90 * time.Second // Docker's, from the kernel's nf_conntrack_udp_timeout_stream of old
	udpSessions     = 1024             // clients of one port; more are not served until others are idle
	udpPerTurn      = 64               // datagrams, so that one busy port does not starve the others
	maxDatagram     = 65535
	controlMessages = 128 // bytes; room for in6_pktinfo with its header
)

// datagrams are buffers, so that waiting sessions need none.
var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// udpFlow is a client with the address of ours that it spoke to, which answers
// must come from.
type udpFlow struct {
	client netip.AddrPort
	scope  uint32
	local  netip.Addr
	link   uint32
}

// udpSession is a flow's connection to the container.
type udpSession struct{ conn *net.UDPConn }

// receive takes the waiting datagrams of a UDP port. The caller holds s.mu for
// reading; flows change under udpMu, and only this goroutine adds any.
func (p *proxy) receive(s *served) error {
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	oob := make([]byte, controlMessages)
	for range udpPerTurn {
		n, oobn, _, from, err := unix.Recvmsg(s.fd, buf[:], oob, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR || err == unix.ECONNREFUSED:
			continue
		case err != nil:
			return err
		}
		flow, ok := flowOf(from, oob[:oobn])
		if !ok {
			continue
		}
		p.toContainer(s, flow, buf[:n])
	}
	return nil
}

func (p *proxy) toContainer(s *served, flow udpFlow, data []byte) {
	p.udpMu.Lock()
	session := s.flows[flow]
	p.udpMu.Unlock()
	if session == nil {
		var err error
		if session, err = p.newSession(s, flow); err != nil {
			p.log.Debug("forward datagram to container", "target", s.target, "error", err)
			return
		}
	}
	_ = session.conn.SetReadDeadline(time.Now().Add(udpIdle)) // a closed one fails at the next line
	_, _ = session.conn.Write(data)                           // datagrams may get lost
}

func (p *proxy) newSession(s *served, flow udpFlow) (*udpSession, error) {
	p.udpMu.Lock()
	full := len(s.flows) >= udpSessions
	p.udpMu.Unlock()
	if full {
		return nil, errors.New("too many clients")
	}
	var conn *net.UDPConn
	err := netns.Do(p.home, func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.target))
		return err
	})
	if err != nil {
		return nil, err
	}
	session := &udpSession{conn: conn}
	p.udpMu.Lock()
	if s.flows == nil {
		s.flows = map[udpFlow]*udpSession{}
	}
	s.flows[flow] = session
	p.udpMu.Unlock()
	p.wg.Go(func() { p.fromContainer(s, flow, session) })
	return session, nil
}

// fromContainer passes answers to the client until the session is idle.
func (p *proxy) fromContainer(s *served, flow udpFlow, session *udpSession) {
	defer func() {
		p.udpMu.Lock()
		delete(s.flows, flow)
		p.udpMu.Unlock()
		_ = session.conn.Close() // nothing is buffered
	}()
	if !s.keep(session.conn) {
		return
	}
	defer s.forget(session.conn)
	_ = session.conn.SetReadDeadline(time.Now().Add(udpIdle)) // a new one cannot fail
	raw, err := session.conn.SyscallConn()
	for err == nil {
		err = raw.Read(func(fd uintptr) bool { return s.answers(flow, int(fd)) })
		if err == nil {
			err = session.conn.SetReadDeadline(time.Now().Add(udpIdle))
		}
	}
}

// answers passes on what the container has sent; false if there was nothing.
func (s *served) answers(flow udpFlow, fd int) (any bool) {
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.ECONNREFUSED || err == unix.EINTR {
			continue // nobody listens there yet; the deadline ends the session
		}
		if err != nil {
			return any
		}
		s.answer(flow, buf[:n])
		any = true
	}
}

func (s *served) answer(flow udpFlow, data []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closed {
		_, _ = unix.SendmsgN(s.fd, data, flow.control(), flow.sockaddr(), 0) // datagrams may get lost
	}
}
