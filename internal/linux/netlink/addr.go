package netlink

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddAddr gives a link an IPv4 or IPv6 address. For IPv4 the broadcast address
// is the subnet's last, except in a /31 or /32.
func AddAddr(index int, p netip.Prefix) Request {
	msg := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	a := nl.NewIfAddrmsg(family(p.Addr()))
	a.Index, a.Prefixlen = uint32(index), uint8(p.Bits())
	msg.AddData(a)
	ip := p.Addr().AsSlice()
	msg.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip))
	msg.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if p.Addr().Is4() && p.Bits() < 31 {
		last := Last(p).As4()
		msg.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, last[:]))
	}
	return Request{what: fmt.Sprintf("add address %s to link %d", p, index), msg: msg}
}

// DelAddr takes an address from a link.
func DelAddr(index int, p netip.Prefix) Request {
	msg := nl.NewNetlinkRequest(unix.RTM_DELADDR, unix.NLM_F_ACK)
	a := nl.NewIfAddrmsg(family(p.Addr()))
	a.Index, a.Prefixlen = uint32(index), uint8(p.Bits())
	msg.AddData(a)
	msg.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	return Request{what: fmt.Sprintf("remove address %s from link %d", p, index), msg: msg}
}

// AddDefaultRoute adds the default route by way of a gateway.
func AddDefaultRoute(index int, gateway netip.Addr) Request {
	msg := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	r := nl.NewRtMsg()
	r.Family = uint8(family(gateway))
	msg.AddData(r)
	msg.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()))
	msg.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	return Request{what: fmt.Sprintf("add default route by %s", gateway), msg: msg}
}

// DelNeighbour forgets the hardware address of a neighbour; not knowing it is
// no error.
func DelNeighbour(index int, ip netip.Addr) Request {
	msg := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	msg.AddData(&neighMsg{family: uint8(family(ip)), index: uint32(index)})
	msg.AddData(nl.NewRtAttr(unix.NDA_DST, ip.AsSlice()))
	return Request{what: fmt.Sprintf("forget neighbour %s", ip), msg: msg, ignore: []unix.Errno{unix.ENOENT, unix.ENODEV}}
}

// Last gives the last address of a prefix, for IPv4 the broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// neighMsg is struct ndmsg.
type neighMsg struct {
	family uint8
	index  uint32
}

func (m *neighMsg) Len() int { return unix.SizeofNdMsg }

func (m *neighMsg) Serialize() []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = m.family
	copy(b[4:8], nl.Uint32Attr(m.index))
	return b
}
