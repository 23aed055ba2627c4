package network

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flowOf reads who sent a datagram and to which of our addresses.
func flowOf(from unix.Sockaddr, oob []byte) (udpFlow, bool) {
	var f udpFlow
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		f.client = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		f.client, f.scope = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), sa.ZoneId
	default:
		return f, false
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return f, false
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			f.local, f.link = netip.AddrFrom16(info.Addr), info.Ifindex
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			f.local = netip.AddrFrom4(info.Spec_dst)
		}
	}
	// Only a link-local address means nothing without its link; elsewhere the
	// answer may take another way than the question.
	if !f.local.IsLinkLocalUnicast() {
		f.link = 0
	}
	return f, true
}

// control makes the control message that gives an answer its source address.
func (f udpFlow) control() []byte {
	switch {
	case !f.local.IsValid():
		return nil
	case f.local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: f.local.As4()})
	default:
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: f.local.As16(), Ifindex: f.link})
	}
}

func (f udpFlow) sockaddr() unix.Sockaddr {
	if f.client.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(f.client.Port()), Addr: f.client.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(f.client.Port()), Addr: f.client.Addr().As16(), ZoneId: f.scope}
}
