package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netns"
	"github.com/gantry-run/gantry/internal/linux/userns"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestContainersReachEachOtherAndOutside(t *testing.T) {
	leakGate(t)
	w := newWorld(t)
	s := w.start(t, defaults(t))
	a, b := attach(t, s, request("a")), attach(t, s, request("b"))
	if a.ip.String() != "172.17.0.2" || b.ip.String() != "172.17.0.3" {
		t.Errorf("addresses %s, %s", a.ip, b.ip)
	}
	w.serveTCP(t, b.NS, ":80")
	if seen := w.reach(t, a.NS, fmt.Sprintf("%s:80", b.ip)); seen != a.ip.String() {
		t.Errorf("b saw %s instead of a", seen)
	}
	if seen := w.reach(t, w.host, fmt.Sprintf("%s:80", b.ip)); seen != "172.17.0.1" {
		t.Errorf("b saw %s instead of the bridge", seen)
	}
	w.serveTCP(t, w.outside, ":7")
	if seen := w.reach(t, a.NS, outsideIP.String()+":7"); seen != hostIP.String() {
		t.Errorf("the outside saw %s instead of the host", seen)
	}
	w.serveTCP(t, a.NS, "[::1]:81")
	w.reach(t, a.NS, "[::1]:81")
	v, err := "", error(nil)
	w.in(t, a.NS, func() error { v, err = sysctl("ipv6/conf/eth0/disable_ipv6"); return err })
	if v != "1" {
		t.Errorf("disable_ipv6 of eth0 is %s", v)
	}
}

func TestUnpublishedIsUnreachable(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, defaults(t))
	a := attach(t, s, request("a", "8080:80/tcp"))
	w.serveTCP(t, a.NS, ":80")
	w.serveTCP(t, a.NS, ":81")
	w.reach(t, w.outside, hostIP.String()+":8080")
	w.unreachable(t, w.outside, a.ip.String()+":81")
	// Not even a published port may be reached around the host's own address.
	w.unreachable(t, w.outside, a.ip.String()+":80")
	w.unreachable(t, w.outside, hostIP.String()+":81")
}

func TestPublishedPorts(t *testing.T) {
	leakGate(t)
	w := newWorld(t)
	s := w.start(t, defaults(t))
	a := attach(t, s, request("a", "8080:80/tcp", "5353:53/udp"))
	b := attach(t, s, request("b"))
	w.serveTCP(t, a.NS, ":80")
	w.serveUDP(t, a.NS, ":53")
	for _, c := range []struct {
		name     string
		from     *os.File
		at, seen string
	}{
		{"outside, IPv4", w.outside, hostIP.String() + ":", outsideIP.String()},
		{"outside, IPv6", w.outside, "[2001:db8::1]:", "172.17.0.1"},
		{"localhost", w.host, "127.0.0.1:", "172.17.0.1"},
		{"loopback, another address", w.host, "127.1.2.3:", "172.17.0.1"},
		{"localhost, IPv6", w.host, "[::1]:", "172.17.0.1"},
		{"the host's address from the host", w.host, hostIP.String() + ":", hostIP.String()},
		{"the bridge's address", w.host, "172.17.0.1:", "172.17.0.1"},
		{"another container by the bridge", b.NS, "172.17.0.1:", "172.17.0.1"},
		{"another container by the host", b.NS, hostIP.String() + ":", "172.17.0.1"},
		{"itself", a.NS, hostIP.String() + ":", "172.17.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if seen := w.reach(t, c.from, c.at+"8080"); seen != c.seen {
				t.Errorf("TCP: the container saw %s, not %s", seen, c.seen)
			}
			seen, err := w.askUDP(c.from, c.at+"5353", short)
			if err != nil || seen != c.seen {
				t.Errorf("UDP: the container saw %q, not %s (%v)", seen, c.seen, err)
			}
		})
	}
	if err := s.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.unreachable(t, w.outside, hostIP.String()+":8080")
	w.unreachable(t, w.host, "127.0.0.1:8080")
	w.unreachable(t, w.host, "[::1]:8080")
}

func TestPublishedOnLoopbackOnly(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, defaults(t))
	a := attach(t, s, request("a", "127.0.0.1:8080:80/tcp", "[::1]:8081:80/tcp"))
	b := attach(t, s, request("b"))
	w.serveTCP(t, a.NS, ":80")
	w.reach(t, w.host, "127.0.0.1:8080")
	w.reach(t, w.host, "[::1]:8081")
	w.unreachable(t, w.host, "127.0.0.1:8081")
	w.unreachable(t, w.host, "[::1]:8080")
	w.unreachable(t, w.outside, hostIP.String()+":8080")
	w.unreachable(t, b.NS, "172.17.0.1:8080")
	w.unreachable(t, b.NS, hostIP.String()+":8080")
}

// A neighbour or a container that sends to 127.0.0.1 by way of the host must
// reach neither what is published on loopback nor the host's own services.
func TestLoopbackFromOutsideIsDropped(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, defaults(t))
	a := attach(t, s, request("a", "127.0.0.1:8080:80/tcp"))
	b := attach(t, s, request("b"))
	w.serveTCP(t, a.NS, ":80")
	w.serveTCP(t, w.host, "127.0.0.1:9")
	for name, c := range map[string]struct {
		ns      *os.File
		gateway string
	}{"neighbour": {w.outside, hostIP.String()}, "container": {b.NS, "172.17.0.1"}} {
		t.Run(name, func(t *testing.T) {
			// Make loopback addresses go out by eth0.
			w.in(t, c.ns, func() error {
				if err := setSysctl("ipv4/conf/all/route_localnet", "1"); err != nil {
					return err
				}
				return ip("route", "del", "table", "local", "127.0.0.0/8", "dev", "lo")
			})
			w.in(t, c.ns, func() error {
				_ = ip("route", "del", "table", "local", "local", "127.0.0.1", "dev", "lo")
				return ip("route", "add", "127.0.0.0/8", "via", c.gateway)
			})
			w.unreachable(t, c.ns, "127.0.0.1:8080")
			w.unreachable(t, c.ns, "127.0.0.1:9")
		})
	}
	w.reach(t, w.host, "127.0.0.1:8080")
}

func TestNoICC(t *testing.T) {
	w := newWorld(t)
	o := defaults(t)
	o.ICC = false
	s := w.start(t, o)
	a, b := attach(t, s, request("a", "8080:80/tcp")), attach(t, s, request("b"))
	w.serveTCP(t, a.NS, ":80")
	w.unreachable(t, b.NS, a.ip.String()+":80")
	w.reach(t, b.NS, "172.17.0.1:8080")
	w.serveTCP(t, w.outside, ":7")
	w.reach(t, b.NS, outsideIP.String()+":7")
	// The way around: by the gateway instead of the link.
	w.in(t, b.NS, func() error { return ip("route", "add", a.ip.String(), "via", "172.17.0.1") })
	w.unreachable(t, b.NS, a.ip.String()+":80")
}

func TestNoMasquerade(t *testing.T) {
	w := newWorld(t)
	o := defaults(t)
	o.IPMasq = false
	s := w.start(t, o)
	a := attach(t, s, request("a"))
	w.serveTCP(t, w.outside, ":7")
	if seen := w.reach(t, a.NS, outsideIP.String()+":7"); seen != a.ip.String() {
		t.Errorf("the outside saw %s", seen)
	}
}

func TestForwardingIsTurnedOnForUsOnly(t *testing.T) {
	w := newWorld(t)
	other, err := netns.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const second = "198.51.100."
	link := func(ns *os.File) {
		w.in(t, w.host, func() error {
			return ip("link", "add", "second", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()))
		})
	}
	link(other)
	w.in(t, w.host, func() error {
		_ = ip("link", "set", "second", "up")
		return ip("addr", "add", second+"1/24", "dev", "second")
	})
	w.in(t, other, func() error {
		_ = ip("link", "set", "eth0", "up")
		_ = ip("addr", "add", second+"2/24", "dev", "eth0")
		return ip("route", "add", "default", "via", second+"1")
	})
	w.serveTCP(t, other, ":7")
	w.in(t, w.host, func() error { return setSysctl(ipForward, "0") })
	s := w.start(t, defaults(t))
	if v := w.sysctl(t, ipForward); v != "1" {
		t.Fatalf("ip_forward is %s", v)
	}
	a := attach(t, s, request("a"))
	w.reach(t, a.NS, second+"2:7")
	w.unreachable(t, w.outside, second+"2:7")
	if err := s.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := w.sysctl(t, ipForward); v != "0" {
		t.Errorf("ip_forward is %s after Close", v)
	}
}

func TestTwoServicesSideBySide(t *testing.T) {
	w := newWorld(t)
	one := w.start(t, defaults(t))
	o := defaults(t)
	o.Bridge = "gantry1"
	two := w.start(t, o)
	a, b := attach(t, one, request("a", "8080:80/tcp")), attach(t, two, request("b", "8081:80/tcp"))
	if a.ip.String() != "172.17.0.2" || b.ip.String() != "172.18.0.2" {
		t.Errorf("addresses %s, %s", a.ip, b.ip)
	}
	w.serveTCP(t, a.NS, ":80")
	w.serveTCP(t, b.NS, ":80")
	for _, from := range []*os.File{w.outside, w.host, a.NS, b.NS} {
		w.reach(t, from, hostIP.String()+":8080")
		w.reach(t, from, hostIP.String()+":8081")
	}
	w.unreachable(t, a.NS, b.ip.String()+":80")
	if _, err := two.Attach(t.Context(), request("c", "8080:80/tcp")); err == nil {
		t.Error("both have port 8080")
	}
	if err := two.Detach(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := two.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reach(t, w.outside, hostIP.String()+":8080")
	if !slices.Contains(w.links(t), "gantry0") || slices.Contains(w.links(t), "gantry1") {
		t.Errorf("links %q", w.links(t))
	}
	if v := w.sysctl(t, ipForward); v != "1" {
		t.Error("closing one daemon turned off the other's forwarding")
	}
}

// An address may go to the next container at once, even if somebody still holds
// the last one's namespace.
func TestAddressIsReusedSafely(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, defaults(t))
	client := attach(t, s, request("client"))
	old := attach(t, s, request("old"))
	w.serveTCP(t, old.NS, ":80")
	at := netip.AddrPortFrom(old.ip, 80).String()
	w.reach(t, client.NS, at)
	w.reach(t, w.host, at)
	if err := s.Detach(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	w.unreachable(t, client.NS, at)
	next := attach(t, s, request("next"))
	if next.ip != old.ip {
		t.Fatalf("addresses %s, %s", old.ip, next.ip)
	}
	w.serveTCP(t, next.NS, "127.0.0.1:80") // not on the link: who answers is the old one
	w.unreachable(t, client.NS, at)
	w.unreachable(t, w.host, at)
	w.serveTCP(t, next.NS, next.ip.String()+":80")
	w.reach(t, client.NS, at)
	w.reach(t, w.host, at)
}

// Namespaces for containers with user namespaces belong to these, from the pool, made
// for a user namespace that is there, and without a network.
func TestMappedNamespaces(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	w := newWorld(t)
	ids := []syscall.SysProcIDMap{{HostID: 100000, Size: 65536}}
	o := defaults(t)
	o.NewMapped = func() (*os.File, error) { return userns.NewWithNet(ids, ids) }
	s := w.start(t, o)
	ownerOf := func(ns *os.File) *os.File {
		t.Helper()
		t.Cleanup(func() { _ = ns.Close() })
		owner, err := userns.Owner(ns)
		if err != nil || owner == nil {
			t.Fatalf("owner %v, %v", owner, err)
		}
		t.Cleanup(func() { _ = owner.Close() })
		return owner
	}
	with := func(id string, u engine.Users) engine.NetworkRequest {
		r := request(id)
		r.Users = u
		return r
	}
	first := attach(t, s, with("mapped", engine.Users{Mapped: true}))
	owner := ownerOf(first.NS)
	second := attach(t, s, with("beside", engine.Users{In: owner}))
	if same, err := netns.Same(owner, ownerOf(second.NS)); err != nil || !same {
		t.Errorf("not in the user namespace that is there: %v", err)
	}
	plain := attach(t, s, request("plain"))
	if owner, err := userns.Owner(plain.NS); owner != nil || err != nil {
		t.Errorf("owner of a namespace of the machine's: %v, %v", owner, err)
	}
	w.serveTCP(t, first.NS, first.ip.String()+":80")
	for _, from := range []*os.File{second.NS, plain.NS, w.host} {
		w.reach(t, from, first.ip.String()+":80")
	}
	for _, u := range []engine.Users{{Mapped: true}, {In: owner}} {
		ns, err := s.Isolated(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := netns.Same(owner, ownerOf(ns)); err != nil || same != (u.In != nil) {
			t.Errorf("%+v: same user namespace: %v, %v", u, same, err)
		}
	}
	o = defaults(t)
	o.Bridge = BridgeNone
	if _, err := w.start(t, o).Isolated(t.Context(), engine.Users{Mapped: true}); !errs.Is(err, errs.Unsupported) {
		t.Errorf("without mappings: got %v", err)
	}
}

// Two isolated namespaces are new ones with loopback and nothing else.
func TestIsolated(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, defaults(t))
	seen := map[string]bool{}
	for range isolatedSize + 2 { // some from the stock, some made at once
		ns, err := s.Isolated(t.Context(), engine.Users{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
		if err != nil || seen[name] {
			t.Errorf("%s is not a new namespace (%v)", name, err)
		}
		seen[name] = true
		err = netns.Do(ns, func() error {
			links, err := net.Interfaces()
			if err != nil {
				return err
			}
			for _, l := range links {
				if l.Flags&net.FlagUp != 0 && l.Name != "lo" || l.Name == "lo" && l.Flags&net.FlagUp == 0 || l.Name == containerLink {
					t.Errorf("link %s, %v", l.Name, l.Flags)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
