package nft_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/linux/netns"
	"github.com/gantry-run/gantry/internal/linux/nft"
	"golang.org/x/sys/unix"
)

func table() nft.Table {
	return nft.Table{
		Name: "gantry-test",
		Maps: []nft.Map{
			{Name: "published", Key: []nft.Field{nft.Proto, nft.Port}, Value: []nft.Field{nft.IPv4, nft.Port}},
			{Name: "links", Key: []nft.Field{nft.IfName}},
		},
		Chains: []nft.Chain{
			{Name: "dnat", Hook: nft.Prerouting, Kind: nft.NAT, Priority: nft.PriorityDNAT, Rules: []nft.Rule{
				nft.Join(nft.IPv4Only(), nft.DestinationLocal(), nft.RedirectBy("published", nft.Proto, nft.Port)),
			}},
			{Name: "masquerade", Hook: nft.Postrouting, Kind: nft.NAT, Priority: nft.PriorityMasquer, Rules: []nft.Rule{
				nft.Join(nft.IPv4Only(), nft.NotTo("br0"), nft.Source(netip.MustParsePrefix("10.1.0.0/16")), nft.Masquerade()),
			}},
			{Name: "forward", Hook: nft.Forward, Kind: nft.Filter, Rules: []nft.Rule{
				nft.Join(nft.To("br0"), nft.Established(), nft.Accept()),
				nft.Join(nft.To("br0"), nft.Translated(), nft.Accept()),
				nft.Join(nft.FromIn("links"), nft.ToIn("links"), nft.Drop()),
			}},
		},
	}
}

func element(port uint16, to string, toPort uint16) nft.Element {
	return nft.Element{
		Key:   nft.Key(nft.ProtoKey(unix.IPPROTO_TCP), nft.PortKey(port)),
		Value: nft.Key(nft.AddrKey(netip.MustParseAddr(to)), nft.PortKey(toPort)),
	}
}

// inside runs fn in a new namespace with a connection of its own.
func inside(t testing.TB, fn func(c *nft.Conn)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("nf_tables needs root")
	}
	ns, err := netns.New(func(*os.File) error {
		c, err := nft.Open()
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

// list is what nft(8) reads back, the independent view of our messages.
func list(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Skipf("nft is not installed: %v", err)
	}
	return string(out)
}

func TestReplaceUpdateDelete(t *testing.T) {
	inside(t, func(c *nft.Conn) {
		if ok, err := c.Exists("gantry-test"); err != nil || ok {
			t.Fatalf("Exists = %v, %v", ok, err)
		}
		elems := nft.Elements{
			"published": {element(8080, "10.1.0.2", 80)},
			"links":     {{Key: nft.IfNameKey("eth0")}},
		}
		for range 2 { // the second time over an existing table
			if err := c.Replace(table(), elems); err != nil {
				t.Fatal(err)
			}
		}
		got := list(t)
		for _, want := range []string{
			"tcp . 8080 : 10.1.0.2 . 80",
			`oifname != "br0" ip saddr 10.1.0.0/16 masquerade`,
			`oifname "br0" ct state established,related accept`,
			`oifname "br0" ct status dnat accept`,
			"fib daddr type local dnat ip to meta l4proto . th dport map @published",
			`iifname @links oifname @links drop`,
			`elements = { "eth0" }`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("the ruleset lacks %q", want)
			}
		}
		if n := strings.Count(got, "masquerade\n"); n != 1 {
			t.Errorf("%d masquerade rules", n)
		}
		if t.Failed() {
			t.Log(got)
		}

		old, fresh := element(8080, "10.1.0.2", 80), element(8081, "10.1.0.3", 81)
		if err := c.Update(table(), nft.Elements{"published": {fresh}}, nft.Elements{"published": {old}}); err != nil {
			t.Fatal(err)
		}
		if got := list(t); strings.Contains(got, "8080") || !strings.Contains(got, "tcp . 8081 : 10.1.0.3 . 81") {
			t.Errorf("after the update:\n%s", got)
		}
		// All or nothing: the good half of a bad transaction must not stay.
		if err := c.Update(table(), nft.Elements{"published": {element(9, "10.1.0.4", 9)}}, nft.Elements{"published": {old}}); err == nil {
			t.Error("removing a missing element succeeded")
		}
		if got := list(t); strings.Contains(got, "10.1.0.4") {
			t.Errorf("half of a failed transaction stayed:\n%s", got)
		}
		for range 2 {
			if err := c.Delete("gantry-test"); err != nil {
				t.Fatal(err)
			}
		}
		if got := list(t); got != "" {
			t.Errorf("left behind:\n%s", got)
		}
	})
}

func TestManyElements(t *testing.T) {
	inside(t, func(c *nft.Conn) {
		var all []nft.Element
		for port := 1; port <= 65535; port++ {
			all = append(all, element(uint16(port), "10.1.0.2", uint16(port)))
		}
		if err := c.Replace(table(), nft.Elements{"published": all[:100]}); err != nil {
			t.Fatal(err)
		}
		if err := c.Update(table(), nft.Elements{"published": all[100:]}, nil); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(list(t), "tcp . "); n != len(all) {
			t.Errorf("%d elements of %d", n, len(all))
		}
		if err := c.Update(table(), nil, nft.Elements{"published": all}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestForwardDrops(t *testing.T) {
	inside(t, func(c *nft.Conn) {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; chain x { type filter hook input priority 0; policy drop; }; }")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("nft: %v: %s", err, out)
		}
		got, err := c.ForwardDrops()
		if err != nil || len(got) != 1 || got[0] != "filter FORWARD" {
			t.Fatalf("ForwardDrops = %q, %v", got, err)
		}
	})
}

func BenchmarkUpdateOneElement(b *testing.B) {
	inside(b, func(c *nft.Conn) {
		if err := c.Replace(table(), nil); err != nil {
			b.Fatal(err)
		}
		e := nft.Elements{"published": {element(8080, "10.1.0.2", 80)}}
		for b.Loop() {
			if err := c.Update(table(), e, nil); err != nil {
				b.Fatal(err)
			}
			if err := c.Update(table(), nil, e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
