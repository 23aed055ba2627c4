package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	networktypes "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/linux/netns"
)

// reservation is a host port that is held for a container's port.
type reservation struct {
	proto    networktypes.IPProtocol
	hosts    []netip.Addr
	hostPort uint16
	target   netip.AddrPort // the container's
	socks    []socket       // what holds the port; none for a protocol that the kernel lacks
}

func (r *reservation) port() string { return strconv.Itoa(int(r.hostPort)) }

// publisher holds host ports. It is safe for concurrent use.
type publisher struct {
	home   *os.File
	proxy  *proxy // nil: none
	claims *claims
	low    uint16 // ephemeral ports, from ip_local_port_range
	high   uint16
}

// newPublisher reads the range of ephemeral ports of the calling thread's namespace.
func newPublisher(home *os.File, p *proxy) *publisher {
	out := &publisher{home: home, proxy: p, claims: newClaims(), low: 32768, high: 60999} // the kernel's defaults
	if s, err := sysctl("ipv4/ip_local_port_range"); err == nil {
		if f := strings.Fields(s); len(f) == 2 {
			low, err1 := strconv.ParseUint(f[0], 10, 16)
			high, err2 := strconv.ParseUint(f[1], 10, 16)
			if err1 == nil && err2 == nil && low <= high {
				out.low, out.high = uint16(low), uint16(high)
			}
		}
	}
	return out
}

// reserve holds host ports for all publications of a container at ip, or for
// none. Errors are Docker's, without its prefix that names the endpoint.
func (p *publisher) reserve(ctx context.Context, ip netip.Addr, pubs []publication) (rs []*reservation, err error) {
	if len(pubs) == 0 {
		return nil, nil
	}
	var undo cleanup.Stack
	defer func() { err = errors.Join(err, undo.Run()) }()
	undo.PushFunc(func() { p.release(rs); rs = nil })
	err = netns.Do(p.home, func() error {
		for _, pub := range pubs {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := p.one(ip, pub)
			if err != nil {
				return err
			}
			rs = append(rs, r)
		}
		return nil
	})
	if err == nil {
		undo.Release()
	}
	return rs, err
}

// one finds a free port for a publication, on a thread of the home namespace.
func (p *publisher) one(ip netip.Addr, pub publication) (*reservation, error) {
	if pub.start != 0 && pub.start == pub.end {
		return p.try(ip, pub, pub.start)
	}
	var last error
	tries := int(pub.end) - int(pub.start) + 1
	if pub.start == 0 {
		tries = int(p.high) - int(p.low) + 1
	}
	for i := range tries {
		port := pub.start + uint16(i)
		if pub.start == 0 {
			port = p.claims.ephemeral(pub.port.Proto(), p.low, p.high)
		}
		r, err := p.try(ip, pub, port)
		if err == nil {
			return r, nil
		}
		if last = err; !inUse(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("all ports are allocated: %w", last)
}

// errAllocated marks ports that another container of ours has.
type errAllocated struct{ at netip.AddrPort }

func (e *errAllocated) Error() string {
	return fmt.Sprintf("Bind for %s:%d failed: port is already allocated", e.at.Addr(), e.at.Port())
}

func inUse(err error) bool {
	var ours *errAllocated
	return errors.As(err, &ours) || errors.Is(err, unix.EADDRINUSE)
}

func (p *publisher) try(ip netip.Addr, pub publication, port uint16) (*reservation, error) {
	r := &reservation{
		proto: pub.port.Proto(), hosts: pub.hosts, hostPort: port,
		target: netip.AddrPortFrom(ip, pub.port.Num()),
	}
	if at, ok := p.claims.claim(r.claim(), r.hosts); !ok {
		return nil, &errAllocated{netip.AddrPortFrom(at, port)}
	}
	if err := p.open(r); err != nil {
		p.claims.release(r.claim(), r.hosts)
		return nil, err
	}
	return r, nil
}

// open makes the sockets. Where the machine cannot do IPv6, "everywhere" means
// IPv4 everywhere.
func (p *publisher) open(r *reservation) error {
	if len(r.hosts) == 2 {
		s, err := p.listen(r, r.hosts[1], true)
		if err == nil {
			r.socks = []socket{s}
			return nil
		}
		if !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			// One socket for both families: find out which of the two it was.
			s, err4 := p.listen(r, r.hosts[0], false)
			if err4 == nil {
				p.shut(s)
				return r.bindError(r.hosts[1], err)
			}
			return r.bindError(r.hosts[0], err4)
		}
		p.claims.release(r.claim(), r.hosts[1:])
		r.hosts = r.hosts[:1]
	}
	s, err := p.listen(r, r.hosts[0], false)
	if errors.Is(err, unix.EPROTONOSUPPORT) && r.proto == networktypes.SCTP {
		return nil // then no other program can have the port either
	}
	if err != nil {
		return r.bindError(r.hosts[0], err)
	}
	r.socks = []socket{s}
	return nil
}

func (r *reservation) claim() hostPort { return hostPort{r.proto, r.hostPort} }

func (r *reservation) bindError(host netip.Addr, err error) error {
	return fmt.Errorf("failed to bind host port for %s:%s/%s: %w", netip.AddrPortFrom(host, r.hostPort), r.target, r.proto, err)
}

// release gives ports back. The firewall must have forgotten them.
func (p *publisher) release(rs []*reservation) {
	for _, r := range slices.Backward(rs) {
		for _, s := range r.socks {
			p.shut(s)
		}
		r.socks = nil
		p.claims.release(r.claim(), r.hosts)
	}
}

// readopt takes the ports of a container that outlived its daemon. Traffic to
// it flows whatever happens here, so a port that cannot be held any more, which
// is reported, does not stop the others.
func (p *publisher) readopt(ip netip.Addr, pubs []publication) (rs []*reservation, lost []error) {
	err := netns.Do(p.home, func() error {
		for _, pub := range pubs {
			r := &reservation{
				proto: pub.port.Proto(), hosts: pub.hosts, hostPort: pub.start,
				target: netip.AddrPortFrom(ip, pub.port.Num()),
			}
			if at, ok := p.claims.claim(r.claim(), r.hosts); !ok {
				lost = append(lost, &errAllocated{netip.AddrPortFrom(at, r.hostPort)})
				continue
			}
			if err := p.open(r); err != nil {
				lost = append(lost, err)
			}
			rs = append(rs, r)
		}
		return nil
	})
	if err != nil {
		lost = append(lost, err)
	}
	return rs, lost
}
