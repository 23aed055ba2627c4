package netlink_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
	"golang.org/x/sys/unix"
)

func inside(t testing.TB, fn func(c *netlink.Conn)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("links need root")
	}
	ns, err := netns.New(func(*os.File) error {
		c, err := netlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		fn(c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
}

func find(t testing.TB, name string) netlink.Link {
	t.Helper()
	links, err := netlink.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no link %s among %+v", name, links)
	return netlink.Link{}
}

func TestBridgeWithPort(t *testing.T) {
	inside(t, func(c *netlink.Conn) {
		mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
		if err := c.Do(netlink.NewBridge(netlink.BridgeSpec{Name: "br0", MAC: mac, MTU: 1400}),
			netlink.LinkAlias(netlink.Named("br0"), "mine"), netlink.LinkNoLinkLocal(netlink.Named("br0"))); err != nil {
			t.Fatal(err)
		}
		br := find(t, "br0")
		if br.Kind != "bridge" || br.Alias != "mine" || br.MAC.String() != mac.String() || br.MTU != 1400 {
			t.Errorf("bridge: %+v", br)
		}
		addr := netip.MustParsePrefix("10.9.0.1/24")
		if err := c.Do(netlink.AddAddr(br.Index, addr), netlink.LinkUp(netlink.At(br.Index))); err != nil {
			t.Fatal(err)
		}
		if got, err := netlink.Addrs(br.Index); err != nil || len(got) != 1 || got[0] != addr {
			t.Errorf("Addrs = %v, %v", got, err)
		}
		routes, err := netlink.Routes()
		if err != nil || len(routes) != 1 || routes[0] != (netlink.Route{Dst: addr.Masked(), Index: br.Index}) {
			t.Errorf("Routes = %v, %v", routes, err)
		}

		other, err := netns.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		peerMAC := net.HardwareAddr{2, 1, 2, 3, 4, 6}
		if err := c.Do(netlink.NewVeth(netlink.VethSpec{Name: "v0", MTU: 1400, Master: br.Index, Peer: "eth0", PeerMAC: peerMAC, PeerNS: other}), netlink.LinkNoLinkLocal(netlink.Named("v0")), netlink.LinkUp(netlink.Named("v0"))); err != nil {
			t.Fatal(err)
		}
		port := find(t, "v0")
		if port.Master != br.Index || !port.Up || port.Kind != "veth" {
			t.Errorf("port: %+v", port)
		}
		err = netns.Do(other, func() error { return checkPeer(t, port.Index, peerMAC) })
		if err != nil {
			t.Error(err)
		}
		if err := c.Do(netlink.SetPort(port.Index, netlink.PortMode{Isolated: true, Hairpin: true}), netlink.PortCut(port.Index),
			netlink.DelNeighbour(br.Index, netip.MustParseAddr("10.9.0.2")), netlink.DelLink(port.Index), netlink.DelLink(port.Index)); err != nil {
			t.Error(err)
		}
	})
}

func checkPeer(t *testing.T, portIndex int, mac net.HardwareAddr) error {
	c, err := netlink.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	var index, parent int
	if err := c.Do(netlink.GetLink("eth0", &index, &parent), netlink.LinkUp(netlink.Named("lo")), netlink.LinkUp(netlink.Named("eth0"))); err != nil {
		return err
	}
	eth := find(t, "eth0")
	if eth.Index != index || parent != portIndex || eth.Parent != portIndex || !eth.Up || eth.MAC.String() != mac.String() || eth.MTU != 1400 {
		t.Errorf("peer: %+v, index %d, parent %d", eth, index, parent)
	}
	other := net.HardwareAddr{2, 9, 9, 9, 9, 9}
	if err := c.Do(netlink.LinkMAC(netlink.At(index), other), netlink.LinkMTU(netlink.At(index), 1300),
		netlink.AddAddr(index, netip.MustParsePrefix("10.9.0.2/24")),
		netlink.AddDefaultRoute(index, netip.MustParseAddr("10.9.0.1"))); err != nil {
		return err
	}
	if eth := find(t, "eth0"); eth.MAC.String() != other.String() || eth.MTU != 1300 {
		t.Errorf("changed peer: %+v", eth)
	}
	return nil
}

func TestErrorsNameTheRequest(t *testing.T) {
	inside(t, func(c *netlink.Conn) {
		err := c.Do(netlink.LinkUp(netlink.At(4711)), netlink.LinkUp(netlink.Named("lo")), netlink.LinkUp(netlink.Named("nosuch")))
		if !errors.Is(err, unix.ENODEV) || err.Error() != "bring up link 4711: no such device\nbring up nosuch: no such device" {
			t.Errorf("Do = %v", err)
		}
		if !find(t, "lo").Up {
			t.Error("a request after a failed one was not performed")
		}
		if err := c.Do(netlink.LinkUp(netlink.At(4711)).Ignoring(unix.ENODEV)); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Do(netlink.LinkUp(netlink.Named("lo"))); err == nil {
			t.Error("a closed connection works")
		}
	})
}

func TestLast(t *testing.T) {
	for in, want := range map[string]string{
		"172.17.0.0/16": "172.17.255.255", "10.0.0.8/29": "10.0.0.15", "10.0.0.1/32": "10.0.0.1",
		"192.168.16.0/20": "192.168.31.255", "fd00::/64": "fd00::ffff:ffff:ffff:ffff",
	} {
		if got := netlink.Last(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("Last(%s) = %s, want %s", in, got, want)
		}
	}
}
