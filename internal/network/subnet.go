package network

import (
	"net/netip"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netlink"
)

// defaultSubnets are Docker's local pools: 172.17.0.0/16 to 172.31.0.0/16, then
// 192.168.0.0/16 in /20 blocks.
func defaultSubnets() []netip.Prefix {
	var out []netip.Prefix
	for i := byte(17); i <= 31; i++ {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i, 0, 0}), 16))
	}
	for i := 0; i < 256; i += 16 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 20))
	}
	return out
}

// chooseSubnet takes the preferred subnet if it is valid and free, else the
// first free pool, and gives the bridge its first address.
func chooseSubnet(preferred netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	if preferred.IsValid() && !overlaps(preferred, taken) {
		return preferred, nil
	}
	for _, p := range defaultSubnets() {
		if !overlaps(p, taken) {
			return netip.PrefixFrom(p.Addr().Next(), p.Bits()), nil
		}
	}
	return netip.Prefix{}, errs.New(errs.Unavailable, "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if p.Overlaps(t) {
			return true
		}
	}
	return false
}

// takenSubnets lists what the namespace's other links and routes use.
func takenSubnets(bridge int) ([]netip.Prefix, error) {
	links, err := netlink.Links()
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, l := range links {
		if l.Index == bridge {
			continue
		}
		addrs, err := netlink.Addrs(l.Index)
		if err != nil {
			return nil, err
		}
		out = append(out, addrs...)
	}
	routes, err := netlink.Routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Index != bridge {
			out = append(out, r.Dst)
		}
	}
	return out, nil
}
