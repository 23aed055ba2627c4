package network

import (
	"slices"

	"github.com/gantry-run/gantry/internal/linux/netlink"
)

const ipForward = "ipv4/ip_forward"

// planForwarding tells what to remember before forwarding is turned on in the
// calling thread's namespace: nil if it is on already.
func planForwarding(bridge string) (*forwarding, error) {
	on, err := sysctl(ipForward)
	if err != nil || on != "0" {
		return nil, err
	}
	all, err := netlink.Links()
	if err != nil {
		return nil, err
	}
	f := &forwarding{Boot: bootID()}
	for _, l := range all {
		if l.Name != bridge && l.Name != "lo" {
			f.Links = append(f.Links, l.Name)
		}
	}
	return f, nil
}

// undoForwarding turns forwarding off again, unless another bridge than ours
// came meanwhile, whose owner may rely on it.
func undoForwarding(f *forwarding, bridge string) (undone bool, err error) {
	all, err := netlink.Links()
	if err != nil {
		return false, err
	}
	for _, l := range all {
		if l.Kind == "bridge" && l.Name != bridge && !slices.Contains(f.Links, l.Name) {
			return false, nil
		}
	}
	return true, setSysctl(ipForward, "0")
}
