package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reg is the first 32-bit register; parts of a concatenation follow each other.
const reg = unix.NFT_REG32_00

// ipsDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ipsDstNAT = 1 << 5

// Match is a condition or a verdict: part of a Rule.
type Match []expr.Any

// Join makes a rule of matches and a verdict.
func Join(parts ...Match) Rule {
	var r Rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

// IPv4Only matches IPv4 packets; the address matches below need it before them.
func IPv4Only() Match {
	return Match{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		equal([]byte{unix.NFPROTO_IPV4}),
	}
}

// From matches packets that came in by a link.
func From(link string) Match { return onLink(expr.MetaKeyIIFNAME, link, expr.CmpOpEq) }

// NotFrom matches packets that came in by another link.
func NotFrom(link string) Match { return onLink(expr.MetaKeyIIFNAME, link, expr.CmpOpNeq) }

// To matches packets that go out by a link.
func To(link string) Match { return onLink(expr.MetaKeyOIFNAME, link, expr.CmpOpEq) }

// NotTo matches packets that go out by another link.
func NotTo(link string) Match { return onLink(expr.MetaKeyOIFNAME, link, expr.CmpOpNeq) }

func onLink(key expr.MetaKey, link string, op expr.CmpOp) Match {
	return Match{
		&expr.Meta{Key: key, Register: reg},
		&expr.Cmp{Op: op, Register: reg, Data: ifname(link)},
	}
}

// FromIn and ToIn match links whose names are in a set of interface names.
func FromIn(set string) Match {
	return Match{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, &expr.Lookup{SourceRegister: reg, SetName: set}}
}

// ToIn is FromIn for outgoing links.
func ToIn(set string) Match {
	return Match{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, &expr.Lookup{SourceRegister: reg, SetName: set}}
}

// Source matches IPv4 sources in a subnet.
func Source(p netip.Prefix) Match { return inSubnet(offsetSource, p) }

// Destination matches IPv4 destinations in a subnet.
func Destination(p netip.Prefix) Match { return inSubnet(offsetDestination, p) }

// Offsets in the IPv4 header (RFC 791) and in the headers of TCP, UDP and SCTP.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

func inSubnet(offset uint32, p netip.Prefix) Match {
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	net := p.Masked().Addr().As4()
	return Match{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		equal(net[:]),
	}
}

// DestinationLocal matches packets to one of this host's own addresses.
func DestinationLocal() Match {
	return Match{
		&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
		equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)),
	}
}

// Established matches packets of connections that were let through before.
func Established() Match {
	return hasBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// Translated matches connections whose destination was rewritten.
func Translated() Match { return hasBits(expr.CtKeySTATUS, ipsDstNAT) }

func hasBits(key expr.CtKey, bits uint32) Match {
	return Match{
		&expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

// RedirectBy looks up the packet in a map and rewrites its destination to the
// address and port found. key names the fields of the map in order: Proto, IPv4
// (the destination) and Port (the destination's). A packet that the map lacks
// does not match.
func RedirectBy(set string, key ...Field) Match {
	var m Match
	for i, f := range key {
		at := uint32(reg + i)
		switch f {
		case Proto:
			m = append(m, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at})
		case IPv4:
			m = append(m, &expr.Payload{DestRegister: at, Base: expr.PayloadBaseNetworkHeader, Offset: offsetDestination, Len: 4})
		case Port:
			m = append(m, &expr.Payload{DestRegister: at, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2})
		}
	}
	return append(m,
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: set},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: reg + 1, Specified: true},
	)
}

// Masquerade rewrites the source to the address of the outgoing link.
func Masquerade() Match { return Match{&expr.Masq{}} }

// Accept lets the packet through this chain.
func Accept() Match { return Match{&expr.Verdict{Kind: expr.VerdictAccept}} }

// Drop drops the packet silently.
func Drop() Match { return Match{&expr.Verdict{Kind: expr.VerdictDrop}} }

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data} }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b[:unix.IFNAMSIZ-1], name)
	return b
}
