package network

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/gantry-run/gantry/internal/linux/netlink"
)

// addresses knows who has which address of one subnet. It gives out the lowest
// free one, as Docker does: people expect their first container at .2. An
// address may be given out again at once, since whoever had it has been cut off
// (see Detach). It is safe for concurrent use.
type addresses struct {
	subnet netip.Prefix
	pool   netip.Prefix // the part that addresses are given out from

	mu   sync.Mutex
	used map[netip.Addr]struct{}
	low  netip.Addr // every lower address of the pool is in use
}

// newAddresses makes the pool; reserved addresses and the first and last of the
// subnet are never given out.
func newAddresses(subnet, pool netip.Prefix, reserved ...netip.Addr) *addresses {
	if !pool.IsValid() {
		pool = subnet
	}
	a := &addresses{
		subnet: subnet.Masked(), pool: pool.Masked(), low: pool.Masked().Addr(),
		used: map[netip.Addr]struct{}{subnet.Masked().Addr(): {}, netlink.Last(subnet): {}},
	}
	for _, ip := range reserved {
		a.used[ip] = struct{}{}
	}
	return a
}

// allocate gives out an address, false if none is left.
func (a *addresses) allocate() (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ip := a.low; a.pool.Contains(ip); ip = ip.Next() {
		if _, taken := a.used[ip]; !taken {
			a.used[ip] = struct{}{}
			a.low = ip.Next()
			return ip, true
		}
		a.low = ip.Next()
	}
	return netip.Addr{}, false
}

// prefer gives out an address of the pool, any other if that is taken or not valid.
func (a *addresses) prefer(ip netip.Addr) (netip.Addr, bool) {
	if a.pool.Contains(ip) && a.take(ip) == nil {
		return ip, true
	}
	return a.allocate()
}

// take reserves a certain address, which may be outside the pool.
func (a *addresses) take(ip netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.subnet.Contains(ip) {
		return fmt.Errorf("address %s is not in subnet %s", ip, a.subnet)
	}
	if _, taken := a.used[ip]; taken {
		return fmt.Errorf("address %s is in use", ip)
	}
	a.used[ip] = struct{}{}
	return nil
}

// release gives an address back; giving back a free one does nothing.
func (a *addresses) release(ip netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, ip)
	if a.pool.Contains(ip) && ip.Less(a.low) {
		a.low = ip
	}
}
