package netlink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a list is asked for that changes while it is read.
const dumpTries = 50

// dump reads a list from the kernel, again if the list changed meanwhile.
func dump(read func(*vnl.Handle) error) (err error) {
	for range dumpTries {
		if err = withHandle(read); !errors.Is(err, vnl.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// Link is what is known of an existing link.
type Link struct {
	Index, Parent, Master int // Parent: for a veth, its peer's index in the other namespace
	Name, Kind, Alias     string
	MAC                   net.HardwareAddr
	MTU                   int
	Up                    bool
}

// Links lists the links of the calling thread's namespace.
func Links() ([]Link, error) {
	var out []Link
	err := dump(func(h *vnl.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return fmt.Errorf("list links: %w", err)
		}
		out = out[:0]
		for _, l := range links {
			a := l.Attrs()
			out = append(out, Link{
				Index: a.Index, Parent: a.ParentIndex, Master: a.MasterIndex,
				Name: a.Name, Kind: l.Type(), Alias: a.Alias,
				MAC: a.HardwareAddr, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0,
			})
		}
		return nil
	})
	return out, err
}

// Addrs lists the IPv4 addresses of a link, or of all links for index 0.
func Addrs(index int) ([]netip.Prefix, error) {
	var out []netip.Prefix
	err := dump(func(h *vnl.Handle) error {
		addrs, err := h.AddrList(nil, unix.AF_INET)
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		out = out[:0]
		for _, a := range addrs {
			if p, ok := prefix(a.IPNet); ok && (index == 0 || a.LinkIndex == index) {
				out = append(out, p)
			}
		}
		return nil
	})
	return out, err
}

// Route is a destination and the link that it goes out by.
type Route struct {
	Dst   netip.Prefix
	Index int
}

// Routes lists the IPv4 routes of the main table except default routes.
func Routes() ([]Route, error) {
	var out []Route
	err := dump(func(h *vnl.Handle) error {
		routes, err := h.RouteList(nil, unix.AF_INET)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		out = out[:0]
		for _, r := range routes {
			if p, ok := prefix(r.Dst); ok && p.Bits() > 0 {
				out = append(out, Route{Dst: p, Index: r.LinkIndex})
			}
		}
		return nil
	})
	return out, err
}

// ForgetUDP deletes the tracked UDP flows whose original destination port is
// one that match accepts, so that the next packet is translated anew.
func ForgetUDP(match func(dst netip.Addr, port uint16) bool) error {
	return conntrack(func(h *vnl.Handle) error {
		_, err := h.ConntrackDeleteFilters(vnl.ConntrackTable, unix.AF_INET, udpFilter(match))
		return err
	})
}

type udpFilter func(dst netip.Addr, port uint16) bool

func (f udpFilter) MatchConntrackFlow(flow *vnl.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dst, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	return ok && f(dst.Unmap(), flow.Forward.DstPort)
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip.Unmap(), ones), true
}

func conntrack(fn func(*vnl.Handle) error) error {
	h, err := vnl.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open conntrack netlink: %w", err)
	}
	defer h.Close()
	return fn(h)
}

// withHandle retries lists that changed while the kernel dumped them.
func withHandle(fn func(*vnl.Handle) error) error {
	h, err := vnl.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	defer h.Close()
	for try := 0; ; try++ {
		if err = fn(h); !errors.Is(err, vnl.ErrDumpInterrupted) || try == 5 {
			return err
		}
	}
}
