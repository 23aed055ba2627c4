package network

import (
	"net/netip"
	"sync"

	networktypes "github.com/moby/moby/api/types/network"
)

// claims says which host ports belong to containers of this daemon. It is safe
// for concurrent use.
type claims struct {
	mu   sync.Mutex
	held map[hostPort][]netip.Addr
	next map[networktypes.IPProtocol]uint16 // where to look for an ephemeral port
}

type hostPort struct {
	proto networktypes.IPProtocol
	port  uint16
}

func newClaims() *claims {
	return &claims{held: map[hostPort][]netip.Addr{}, next: map[networktypes.IPProtocol]uint16{}}
}

// claim takes a port on all the addresses. It gives the first address on which
// somebody has it already.
func (c *claims) claim(p hostPort, hosts []netip.Addr) (taken netip.Addr, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range hosts {
		for _, other := range c.held[p] {
			if collide(h, other) {
				return h, false
			}
		}
	}
	c.held[p] = append(c.held[p], hosts...)
	return netip.Addr{}, true
}

// release gives back what claim took.
func (c *claims) release(p hostPort, hosts []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held[p]
	for _, h := range hosts {
		for i, other := range held {
			if other == h {
				held = append(held[:i:i], held[i+1:]...)
				break
			}
		}
	}
	if len(held) == 0 {
		delete(c.held, p)
	} else {
		c.held[p] = held
	}
}

// ephemeral gives the next port to try between low and high, in turn, so that a
// port that was given back is not the next one's at once.
func (c *claims) ephemeral(proto networktypes.IPProtocol, low, high uint16) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	port := c.next[proto]
	if port < low || port > high {
		port = low
	}
	c.next[proto] = port + 1
	return port
}

// collide tells whether two addresses cannot have the same port.
func collide(a, b netip.Addr) bool {
	return a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}
