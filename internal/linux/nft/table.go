package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Hook is where a base chain sees packets.
type Hook int

// The hooks of the inet family.
const (
	Prerouting Hook = iota
	Forward
	Output
	Postrouting
)

// Kind is a base chain's type.
type Kind int

// The kinds of chains.
const (
	Filter Kind = iota
	NAT
)

// Priorities of base chains, from linux/netfilter_ipv4.h.
const (
	PriorityRaw     = -300 // before connections are tracked
	PriorityDNAT    = -100
	PriorityFilter  = 0
	PriorityMasquer = 100
)

// Rule is a list of matches that ends with a verdict.
type Rule []expr.Any

// Chain is a base chain; packets that no rule decides are accepted.
type Chain struct {
	Name     string
	Hook     Hook
	Kind     Kind
	Priority int
	Rules    []Rule
}

// Field is one part of a map's key or value.
type Field int

// The fields: a transport protocol, an IPv4 address, a port, an interface name.
const (
	Proto Field = iota
	IPv4
	Port
	IfName
)

// Map is a named map, or a set if Value is empty.
type Map struct {
	Name  string
	Key   []Field
	Value []Field
}

// Table is a table of the inet family.
type Table struct {
	Name   string
	Maps   []Map
	Chains []Chain
}

// Element is an element of a map: see Key.
type Element struct {
	Key, Value []byte
}

// Elements are elements by map name.
type Elements map[string][]Element

// ProtoKey is the part of a key that stands for a transport protocol (unix.IPPROTO_*).
func ProtoKey(proto uint8) []byte { return []byte{proto, 0, 0, 0} }

// AddrKey is the part of a key that stands for an IPv4 address.
func AddrKey(ip netip.Addr) []byte { b := ip.As4(); return b[:] }

// PortKey is the part of a key that stands for a port.
func PortKey(port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(nil, port), 0, 0)
}

// IfNameKey is a key that is an interface name.
func IfNameKey(name string) []byte { return ifname(name) }

// Key joins parts in the order of the map's fields.
func Key(parts ...[]byte) []byte {
	out := make([]byte, 0, 4*len(parts))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func (f Field) datatype() nftables.SetDatatype {
	switch f {
	case Proto:
		return nftables.TypeInetProto
	case IPv4:
		return nftables.TypeIPAddr
	case IfName:
		return nftables.TypeIFName
	default:
		return nftables.TypeInetService
	}
}

func datatype(fields []Field) nftables.SetDatatype {
	if len(fields) == 1 {
		return fields[0].datatype()
	}
	types := make([]nftables.SetDatatype, len(fields))
	for i, f := range fields {
		types[i] = f.datatype()
	}
	return nftables.MustConcatSetType(types...)
}

var hooks = map[Hook]*nftables.ChainHook{
	Prerouting:  nftables.ChainHookPrerouting,
	Forward:     nftables.ChainHookForward,
	Output:      nftables.ChainHookOutput,
	Postrouting: nftables.ChainHookPostrouting,
}

var kinds = map[Kind]nftables.ChainType{Filter: nftables.ChainTypeFilter, NAT: nftables.ChainTypeNAT}
