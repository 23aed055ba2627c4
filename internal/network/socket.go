package network

import (
	"errors"
	"net/netip"

	networktypes "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// socket is a descriptor that holds a host port. With a proxy it serves what
// the firewall does not redirect; without, it does nothing but be there.
type socket struct {
	fd      int
	proxied bool
}

// backlog of listening sockets; the kernel caps it by net.core.somaxconn.
const backlog = 1024

// listen binds a socket to the reservation's port on one address; dual means
// [::] for IPv4 as well. It runs on a thread of the home namespace.
func (p *publisher) listen(r *reservation, host netip.Addr, dual bool) (socket, error) {
	fd, err := bind(r.proto, netip.AddrPortFrom(host, r.hostPort), dual, p.proxy != nil)
	if err != nil {
		return socket{}, err
	}
	s := socket{fd: fd}
	if p.proxy != nil && r.proto != networktypes.SCTP {
		if err := p.proxy.add(fd, r.proto, r.target); err != nil {
			return socket{}, errors.Join(err, unix.Close(fd))
		}
		s.proxied = true
	}
	return s, nil
}

func (p *publisher) shut(s socket) {
	if s.proxied {
		p.proxy.remove(s.fd)
		return
	}
	_ = unix.Close(s.fd) // nothing was written
}

func bind(proto networktypes.IPProtocol, at netip.AddrPort, dual, serve bool) (_ int, err error) {
	family, kind, number := unix.AF_INET, unix.SOCK_STREAM, 0
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	switch proto {
	case networktypes.UDP:
		kind = unix.SOCK_DGRAM
	case networktypes.SCTP:
		number = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, number)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	if family == unix.AF_INET6 {
		only := 1
		if dual {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return -1, err
		}
	}
	if serve {
		if err := prepareToServe(fd, proto, family); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return -1, err
	}
	if serve && proto == networktypes.TCP {
		return fd, unix.Listen(fd, backlog)
	}
	return fd, nil
}

// prepareToServe sets what must be set before bind. A listening TCP socket may
// share the port with old connections, as every server's does; one that only
// holds the port may not, since two such would not notice each other.
func prepareToServe(fd int, proto networktypes.IPProtocol, family int) error {
	switch {
	case proto == networktypes.TCP:
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	case proto == networktypes.UDP && family == unix.AF_INET6:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	case proto == networktypes.UDP:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}
