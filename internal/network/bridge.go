package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netlink"
)

// bridgeMark is the alias of bridges that we made: they are ours to delete.
const bridgeMark = "gantry bridge"

// bridge is one bridge link. It is immutable once ensured.
type bridge struct {
	name   string
	index  int
	ours   bool // made by us or an earlier daemon
	addr   netip.Prefix
	subnet netip.Prefix
	mtu    int
	icc    bool
	ipv6   bool // the kernel has IPv6, so that it must be kept off the links
	// localnet: packets from 127.0.0.0/8 may go out by the bridge, so that
	// ports can be published on loopback without a proxy.
	localnet bool

	links *netlink.Conn
}

// ensureBridge finds or makes the bridge, in the calling thread's namespace.
// last is the address that it had at an earlier boot.
func ensureBridge(links *netlink.Conn, o Options, last netip.Prefix) (*bridge, error) {
	b := &bridge{name: o.Bridge, mtu: o.MTU, icc: o.ICC, ipv6: haveIPv6(), links: links}
	if err := b.find(); err != nil {
		return nil, err
	}
	if b.index == 0 {
		if err := b.create(); err != nil {
			return nil, err
		}
	}
	if err := b.address(o.BIP, last); err != nil {
		return nil, err
	}
	if err := o.checkSubnet(b.addr); err != nil {
		return nil, err
	}
	if err := b.configure(o); err != nil {
		return nil, fmt.Errorf("configure bridge %s: %w", b.name, err)
	}
	return b, nil
}

func (b *bridge) find() error {
	all, err := netlink.Links()
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Name != b.name {
			continue
		}
		if l.Kind != "bridge" {
			return errs.New(errs.InvalidArgument, "invalid --bridge %q: there is a link of that name that is not a bridge but a %s", b.name, l.Kind)
		}
		b.index, b.ours = l.Index, l.Alias == bridgeMark
	}
	return nil
}

func (b *bridge) create() error {
	self := netlink.Named(b.name)
	err := b.links.Do(
		netlink.NewBridge(netlink.BridgeSpec{Name: b.name, MAC: randomMAC(), MTU: b.mtu}),
		netlink.LinkAlias(self, bridgeMark),
		netlink.LinkNoLinkLocal(self),
	)
	if err == nil {
		err = b.find()
	}
	if err == nil && !b.ours {
		err = fmt.Errorf("create bridge %s: it was taken away at once", b.name)
	}
	return err
}

// address decides on the bridge's address and gives it to the link.
func (b *bridge) address(want, last netip.Prefix) error {
	have, err := netlink.Addrs(b.index)
	if err != nil {
		return err
	}
	if !want.IsValid() && len(have) > 0 {
		want = have[0]
	}
	if !want.IsValid() {
		taken, err := takenSubnets(b.index)
		if err != nil {
			return err
		}
		if want, err = chooseSubnet(last, taken); err != nil {
			return err
		}
	}
	var reqs []netlink.Request
	found := false
	for _, a := range have {
		if a == want {
			found = true
		} else if b.ours {
			reqs = append(reqs, netlink.DelAddr(b.index, a))
		}
	}
	if !found {
		reqs = append(reqs, netlink.AddAddr(b.index, want))
	}
	if err := b.links.Do(append(reqs, netlink.LinkUp(netlink.At(b.index)))...); err != nil {
		return err
	}
	b.addr, b.subnet = want, want.Masked()
	return nil
}

// configure sets what is not part of the link itself. Where /proc/sys is
// read-only, publishing on loopback is left to the proxy.
func (b *bridge) configure(o Options) error {
	if err := setSysctl("ipv4/conf/"+b.name+"/route_localnet", "1"); err != nil {
		o.Log.Warn("ports published on 127.0.0.1 take the slow way", "bridge", b.name, "error", err)
	} else {
		b.localnet = true
	}
	if !b.ours || !b.ipv6 {
		return nil
	}
	// Router advertisements from containers must not reach the host (CVE-2020-13401).
	if err := setSysctl("ipv6/conf/"+b.name+"/disable_ipv6", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remove deletes the bridge if it is ours.
func (b *bridge) remove() error {
	if !b.ours {
		return nil
	}
	return b.links.Do(netlink.DelLink(b.index))
}

// ports lists the veths that are ports of the bridge.
func (b *bridge) ports() ([]netlink.Link, error) {
	all, err := netlink.Links()
	if err != nil {
		return nil, err
	}
	var out []netlink.Link
	for _, l := range all {
		if l.Master == b.index && l.Kind == "veth" {
			out = append(out, l)
		}
	}
	return out, nil
}

// randomMAC makes a locally administered unicast address.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // it never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}

// containerMAC derives the hardware address from the IPv4 address. Whoever gets
// an address after somebody else has the same hardware address then, so nobody's
// neighbour table is ever wrong.
func containerMAC(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
}
