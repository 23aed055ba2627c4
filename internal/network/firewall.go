package network

import (
	"maps"
	"net/netip"
	"sync"

	networktypes "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/nft"
)

// The daemon's table, family inet, named after its bridge. What changes with
// containers are elements of two maps, so the cost of a packet and of a change
// does not grow with the number of ports:
//
//	published        protocol . port           → container's address . port
//	published-addr   protocol . address . port → container's address . port
//
// Chains, in the order in which packets meet them:
//
//	raw          From outside, 127.0.0.0/8 does not exist: without this rule a
//	             neighbour could reach what is published on loopback, and a
//	             container the host's loopback services (CVE-2020-8558), since
//	             the bridge must route loopback addresses.
//	prerouting,  Packets to an address of the host whose port is published get
//	output       the container as their destination. Where containers may not
//	             talk to each other, what they send to published ports is left to
//	             the proxy, since their ports of the bridge are isolated from
//	             each other, which br_netfilter extends to translated packets.
//	forward      Into the bridge only what belongs to known connections or was
//	             translated by the rules above; from it everything.
//	postrouting  Sources are hidden: behind the host for packets to the outside;
//	             behind the bridge for packets from loopback and for those that
//	             come from the same subnet, whose answers would otherwise take
//	             the short way past the translation. (Not "from the same bridge":
//	             where br_netfilter is active, that is not known here.)
//
// Chains of other tables see the same packets and can drop, but not permit,
// what these chains decide. In particular iptables' FORWARD policy DROP, which
// Docker sets, cuts our bridge off from the outside while it stands.
const (
	mapPublished     = "published"
	mapPublishedAddr = "published-addr"
	setClosed        = "closed"
)

// tableSpec is what the table depends on.
type tableSpec struct {
	bridge   string
	subnet   netip.Prefix
	icc      bool
	masq     bool
	proxy    bool
	localnet bool
	closed   []string // links between which nothing was forwarded before we came
}

// plan makes the table. It is pure.
func (s tableSpec) plan() nft.Table {
	return nft.Table{
		Name: tableName(s.bridge),
		Maps: []nft.Map{
			{Name: mapPublished, Key: []nft.Field{nft.Proto, nft.Port}, Value: []nft.Field{nft.IPv4, nft.Port}},
			{Name: mapPublishedAddr, Key: []nft.Field{nft.Proto, nft.IPv4, nft.Port}, Value: []nft.Field{nft.IPv4, nft.Port}},
			{Name: setClosed, Key: []nft.Field{nft.IfName}},
		},
		Chains: []nft.Chain{
			{Name: "raw", Hook: nft.Prerouting, Kind: nft.Filter, Priority: nft.PriorityRaw, Rules: []nft.Rule{
				nft.Join(nft.NotFrom("lo"), nft.IPv4Only(), nft.Destination(loopback), nft.Drop()),
			}},
			{Name: "prerouting", Hook: nft.Prerouting, Kind: nft.NAT, Priority: nft.PriorityDNAT, Rules: s.prerouting()},
			{Name: "output", Hook: nft.Output, Kind: nft.NAT, Priority: nft.PriorityDNAT, Rules: s.output()},
			{Name: "forward", Hook: nft.Forward, Kind: nft.Filter, Priority: nft.PriorityFilter, Rules: s.forward()},
			{Name: "postrouting", Hook: nft.Postrouting, Kind: nft.NAT, Priority: nft.PriorityMasquer, Rules: s.postrouting()},
		},
	}
}

var loopback = netip.MustParsePrefix("127.0.0.0/8")

func tableName(bridge string) string { return "gantry-" + bridge }

func (s tableSpec) prerouting() []nft.Rule {
	var out []nft.Rule
	if !s.icc && s.proxy {
		out = append(out, nft.Join(nft.From(s.bridge), nft.Accept()))
	}
	return append(out, redirect()...)
}

func (s tableSpec) output() []nft.Rule {
	var out []nft.Rule
	if !s.localnet {
		out = append(out, nft.Join(nft.IPv4Only(), nft.Destination(loopback), nft.Accept()))
	}
	return append(out, redirect()...)
}

// redirect tries the more specific map first.
func redirect() []nft.Rule {
	return []nft.Rule{
		nft.Join(nft.IPv4Only(), nft.DestinationLocal(), nft.RedirectBy(mapPublishedAddr, nft.Proto, nft.IPv4, nft.Port)),
		nft.Join(nft.IPv4Only(), nft.DestinationLocal(), nft.RedirectBy(mapPublished, nft.Proto, nft.Port)),
	}
}

func (s tableSpec) forward() []nft.Rule {
	into, from := nft.To(s.bridge), nft.From(s.bridge)
	rules := []nft.Rule{
		nft.Join(into, nft.Established(), nft.Accept()),
		nft.Join(into, nft.Translated(), nft.Accept()),
	}
	if s.icc {
		rules = append(rules, nft.Join(from, into, nft.Accept()))
	}
	return append(rules,
		nft.Join(into, nft.Drop()),
		nft.Join(from, nft.Accept()),
		nft.Join(nft.FromIn(setClosed), nft.ToIn(setClosed), nft.Drop()),
	)
}

func (s tableSpec) postrouting() []nft.Rule {
	var rules []nft.Rule
	if s.masq {
		rules = append(rules, nft.Join(nft.NotTo(s.bridge), nft.IPv4Only(), nft.Source(s.subnet), nft.Masquerade()))
	}
	if s.localnet {
		rules = append(rules, nft.Join(nft.To(s.bridge), nft.IPv4Only(), nft.Source(loopback), nft.Masquerade()))
	}
	return append(rules, nft.Join(nft.To(s.bridge), nft.IPv4Only(), nft.Source(s.subnet), nft.Translated(), nft.Masquerade()))
}

// firewall is the daemon's table in the kernel. It is safe for concurrent use.
type firewall struct {
	conn  *nft.Conn
	table nft.Table
	spec  tableSpec

	mu    sync.Mutex
	rules map[string][]*reservation // by owner: what the maps' elements stand for
}

func newFirewall(conn *nft.Conn, spec tableSpec) *firewall {
	return &firewall{conn: conn, spec: spec, table: spec.plan(), rules: map[string][]*reservation{}}
}

// add publishes reservations of one owner, all in one transaction.
func (f *firewall) add(owner string, rs []*reservation) error {
	e := elements(rs)
	if len(e) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.conn.Update(f.table, e, nil); err != nil {
		return err
	}
	f.rules[owner] = rs
	return nil
}

// remove takes back all that was added for an owner. If the kernel's table is
// not what it should be, it is made anew.
func (f *firewall) remove(owner string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rs, ok := f.rules[owner]
	if !ok {
		return nil
	}
	delete(f.rules, owner)
	if err := f.conn.Update(f.table, nil, elements(rs)); err != nil {
		return f.replace()
	}
	return nil
}

// rebuild replaces the whole table in one transaction by one for the owners that
// are known and these.
func (f *firewall) rebuild(more map[string][]*reservation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.rules, more)
	return f.replace()
}

// replace needs the lock.
func (f *firewall) replace() error {
	all := nft.Elements{}
	for _, rs := range f.rules {
		for name, e := range elements(rs) {
			all[name] = append(all[name], e...)
		}
	}
	for _, link := range f.spec.closed {
		all[setClosed] = append(all[setClosed], nft.Element{Key: nft.IfNameKey(link)})
	}
	return f.conn.Replace(f.table, all)
}

// delete takes the table away.
func (f *firewall) delete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.Delete(f.table.Name)
}

// elements gives what the maps hold for reservations.
func elements(rs []*reservation) nft.Elements {
	out := nft.Elements{}
	for _, r := range rs {
		proto, port := nft.ProtoKey(protocolNumber(r.proto)), nft.PortKey(r.hostPort)
		value := nft.Key(nft.AddrKey(r.target.Addr()), nft.PortKey(r.target.Port()))
		for _, host := range r.hosts {
			switch {
			case !host.Is4(): // the proxy's
			case host.IsUnspecified():
				out[mapPublished] = append(out[mapPublished], nft.Element{Key: nft.Key(proto, port), Value: value})
			default:
				out[mapPublishedAddr] = append(out[mapPublishedAddr], nft.Element{Key: nft.Key(proto, nft.AddrKey(host), port), Value: value})
			}
		}
	}
	return out
}

func protocolNumber(p networktypes.IPProtocol) uint8 {
	switch p {
	case networktypes.UDP:
		return unix.IPPROTO_UDP
	case networktypes.SCTP:
		return unix.IPPROTO_SCTP
	default:
		return unix.IPPROTO_TCP
	}
}
