package netlink

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes that the library does not name, from linux/veth.h and linux/if_link.h.
const (
	vethInfoPeer        = 1 // VETH_INFO_PEER
	inet6AddrGenMode    = 8 // IFLA_INET6_ADDR_GEN_MODE
	inet6AddrGenNone    = 1 // IN6_ADDR_GEN_MODE_NONE
	bridgePortDisabled  = 0 // BR_STATE_DISABLED
	defaultTxQueueLen   = 0 // veth and bridge have no queue
	linkNewFlags        = unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_ACK
	linkIndexUnassigned = 0
)

// BridgeSpec describes a bridge to make.
type BridgeSpec struct {
	Name string
	MAC  net.HardwareAddr // fixed, so that it does not change with the ports
	MTU  int              // bytes; 0: the kernel's default
}

// NewBridge makes a bridge, down.
func NewBridge(s BridgeSpec) Request {
	msg := linkMsg(unix.RTM_NEWLINK, linkNewFlags, linkIndexUnassigned)
	addName(msg, unix.IFLA_IFNAME, s.Name)
	msg.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, s.MAC))
	addMTU(msg, s.MTU)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
	msg.AddData(info)
	return Request{what: fmt.Sprintf("create bridge %s", s.Name), msg: msg}
}

// VethSpec describes a pair of links, one end of it in another namespace.
type VethSpec struct {
	Name    string // of the end in this namespace
	MTU     int    // bytes; 0: the kernel's default
	Master  int    // index of the bridge
	Peer    string // name of the other end
	PeerMAC net.HardwareAddr
	PeerNS  *os.File
}

// NewVeth makes the pair.
func NewVeth(s VethSpec) Request {
	msg := linkMsg(unix.RTM_NEWLINK, linkNewFlags, linkIndexUnassigned)
	addName(msg, unix.IFLA_IFNAME, s.Name)
	addMTU(msg, s.MTU)
	addOneQueue(msg.AddData)
	if s.Master != 0 {
		msg.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(s.Master))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(vethInfoPeer, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.Peer))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(s.PeerNS.Fd())))
	if s.MTU != 0 {
		peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.MTU)))
	}
	if s.PeerMAC != nil {
		peer.AddRtAttr(unix.IFLA_ADDRESS, s.PeerMAC)
	}
	addOneQueue(func(d nl.NetlinkRequestData) { peer.AddChild(d) })
	msg.AddData(info)
	return Request{what: fmt.Sprintf("create veth %s", s.Name), msg: msg}
}

// Target names an existing link.
type Target struct {
	index int
	name  string
}

// At is the link with an index.
func At(index int) Target { return Target{index: index} }

// Named is the link with a name, for requests that follow its creation.
func Named(name string) Target { return Target{name: name} }

func (t Target) String() string {
	if t.name != "" {
		return t.name
	}
	return fmt.Sprintf("link %d", t.index)
}

// LinkUp brings a link up.
func LinkUp(t Target) Request {
	msg := changeMsg(t)
	i := msg.Data[0].(*nl.IfInfomsg)
	i.Flags, i.Change = unix.IFF_UP, unix.IFF_UP
	return Request{what: fmt.Sprintf("bring up %s", t), msg: msg}
}

// LinkAlias puts a mark on a link that the kernel keeps, at most 255 bytes.
func LinkAlias(t Target, alias string) Request {
	msg := changeMsg(t)
	msg.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	return Request{what: fmt.Sprintf("set alias of %s", t), msg: msg}
}

// LinkNoLinkLocal spares a link its IPv6 link-local address with the probes and
// reports that come with it. A kernel without IPv6 has nothing to spare.
func LinkNoLinkLocal(t Target) Request {
	msg := changeMsg(t)
	af := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	af.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(inet6AddrGenMode, nl.Uint8Attr(inet6AddrGenNone))
	msg.AddData(af)
	return Request{what: fmt.Sprintf("turn off link-local addresses of %s", t), msg: msg, ignore: []unix.Errno{unix.EAFNOSUPPORT}}
}

// LinkMAC gives a link another hardware address.
func LinkMAC(t Target, mac net.HardwareAddr) Request {
	msg := changeMsg(t)
	msg.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	return Request{what: fmt.Sprintf("set hardware address %s of %s", mac, t), msg: msg}
}

// LinkMTU sets a link's MTU in bytes.
func LinkMTU(t Target, mtu int) Request {
	msg := changeMsg(t)
	addMTU(msg, mtu)
	return Request{what: fmt.Sprintf("set MTU %d of %s", mtu, t), msg: msg}
}

// LinkMaster makes a link a port of a bridge.
func LinkMaster(t Target, master int) Request {
	msg := changeMsg(t)
	msg.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
	return Request{what: fmt.Sprintf("attach %s to bridge %d", t, master), msg: msg}
}

// PortMode says how a bridge port treats frames between ports.
type PortMode struct {
	Isolated bool // the port cannot reach other isolated ports
	Hairpin  bool // frames may leave by the port that they came in by
}

// SetPort sets a bridge port's mode.
func SetPort(index int, m PortMode) Request {
	return portRequest(fmt.Sprintf("set mode of bridge port %d", index), index,
		nl.NewRtAttr(nl.IFLA_BRPORT_ISOLATED, flag(m.Isolated)),
		nl.NewRtAttr(nl.IFLA_BRPORT_MODE, flag(m.Hairpin)))
}

func flag(on bool) []byte {
	if on {
		return nl.Uint8Attr(1)
	}
	return nl.Uint8Attr(0)
}

// PortCut takes a bridge port out of service at once and forgets who was
// behind it, without the waits that deleting a link costs.
func PortCut(index int) Request {
	return portRequest(fmt.Sprintf("cut bridge port %d", index), index,
		nl.NewRtAttr(nl.IFLA_BRPORT_STATE, nl.Uint8Attr(bridgePortDisabled)),
		nl.NewRtAttr(nl.IFLA_BRPORT_FLUSH, nil))
}

func portRequest(what string, index int, attrs ...*nl.RtAttr) Request {
	msg := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	i := nl.NewIfInfomsg(unix.AF_BRIDGE)
	i.Index = int32(index)
	msg.AddData(i)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for _, a := range attrs {
		port.AddChild(a)
	}
	msg.AddData(port)
	return Request{what: what, msg: msg}
}

// DelLink deletes a link; a missing one is no error.
func DelLink(index int) Request {
	msg := linkMsg(unix.RTM_DELLINK, unix.NLM_F_ACK, index)
	return Request{what: fmt.Sprintf("delete link %d", index), msg: msg, ignore: []unix.Errno{unix.ENODEV}}
}

// GetLink asks for one link by name and stores its index and the index of the
// link that it is tied to (for a veth, its peer in the other namespace).
func GetLink(name string, index, parent *int) Request {
	msg := linkMsg(unix.RTM_GETLINK, unix.NLM_F_ACK, 0)
	addName(msg, unix.IFLA_IFNAME, name)
	return Request{what: "look up " + name, msg: msg, answer: func(i *nl.IfInfomsg, attrs []syscall.NetlinkRouteAttr) error {
		*index = int(i.Index)
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_LINK && len(a.Value) >= 4 {
				*parent = int(binary.NativeEndian.Uint32(a.Value))
			}
		}
		return nil
	}}
}

func linkMsg(kind, flags, index int) *nl.NetlinkRequest {
	msg := nl.NewNetlinkRequest(kind, flags)
	i := nl.NewIfInfomsg(unix.AF_UNSPEC)
	i.Index = int32(index)
	msg.AddData(i)
	return msg
}

func changeMsg(t Target) *nl.NetlinkRequest {
	msg := linkMsg(unix.RTM_NEWLINK, unix.NLM_F_ACK, t.index)
	if t.name != "" {
		addName(msg, unix.IFLA_IFNAME, t.name)
	}
	return msg
}

func addName(msg *nl.NetlinkRequest, attr int, name string) {
	msg.AddData(nl.NewRtAttr(attr, nl.ZeroTerminated(name)))
}

func addMTU(msg *nl.NetlinkRequest, mtu int) {
	if mtu != 0 {
		msg.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
}

// addOneQueue keeps a veth small: it would have a queue per CPU, which helps
// XDP programs only.
func addOneQueue(add func(nl.NetlinkRequestData)) {
	add(nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)))
	add(nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)))
	add(nl.NewRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(defaultTxQueueLen)))
}
