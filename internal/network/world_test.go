package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
)

// world is a host of its own, in a namespace, with a neighbour outside.
type world struct {
	host, outside *os.File
}

var (
	hostIP    = netip.MustParseAddr("192.0.2.1")
	outsideIP = netip.MustParseAddr("192.0.2.9")
)

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("networks need root")
	}
	w := &world{}
	var err error
	if w.outside, err = netns.New(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.outside.Close() })
	w.host, err = netns.New(func(*os.File) error {
		c, err := netlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := noDAD(); err != nil {
			return err
		}
		eth := netlink.Named("uplink")
		var index, peer int
		if err := c.Do(
			netlink.NewVeth(netlink.VethSpec{Name: "uplink", Peer: "eth0", PeerNS: w.outside}),
			netlink.LinkUp(eth), netlink.LinkUp(netlink.Named("lo")), netlink.GetLink("uplink", &index, &peer),
		); err != nil {
			return err
		}
		return c.Do(netlink.AddAddr(index, netip.PrefixFrom(hostIP, 24)), netlink.AddAddr(index, netip.MustParsePrefix("2001:db8::1/64")))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.host.Close() })
	w.in(t, w.outside, func() error {
		c, err := netlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := setSysctl("ipv6/conf/eth0/accept_dad", "0"); err != nil {
			return err
		}
		var index, peer int
		if err := c.Do(netlink.LinkUp(netlink.Named("eth0")), netlink.LinkUp(netlink.Named("lo")), netlink.GetLink("eth0", &index, &peer)); err != nil {
			return err
		}
		// The neighbour sends all that it does not know to the host, so that it
		// can try to reach containers directly.
		return c.Do(netlink.AddAddr(index, netip.PrefixFrom(outsideIP, 24)), netlink.AddAddr(index, netip.MustParsePrefix("2001:db8::9/64")),
			netlink.AddDefaultRoute(index, hostIP))
	})
	return w
}

func (w *world) in(t testing.TB, ns *os.File, fn func() error) {
	t.Helper()
	if err := netns.Do(ns, fn); err != nil {
		t.Fatal(err)
	}
}

func defaults(t testing.TB) Options {
	return Options{Root: filepath.Join(t.TempDir(), "network"), ICC: true, IPForward: true, IPMasq: true, UserlandProxy: true, PoolSize: 2}
}

// start starts a service on the world's host; it is closed with the test.
func (w *world) start(t testing.TB, o Options) *Service {
	t.Helper()
	var s *Service
	w.in(t, w.host, func() (err error) {
		s, err = New(t.Context(), o)
		return err
	})
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error("close:", err)
		}
	})
	return s
}

func request(id string, ports ...string) engine.NetworkRequest {
	req := engine.NetworkRequest{ContainerID: id, Name: "name-" + id, Mode: "bridge", Bindings: networktypes.PortMap{}}
	for _, p := range ports { // "[ip:]host:container/proto"
		i := strings.LastIndex(p, ":")
		b := networktypes.PortBinding{HostPort: p[:i]}
		if j := strings.LastIndex(p[:i], ":"); j >= 0 {
			b.HostIP, b.HostPort = netip.MustParseAddr(strings.Trim(p[:j], "[]")), p[j+1:i]
		}
		port := networktypes.MustParsePort(p[i+1:])
		req.Bindings[port] = append(req.Bindings[port], b)
	}
	return req
}

// box is what a test has of a container.
type testBox struct {
	*engine.Sandbox
	ip netip.Addr
}

func attach(t testing.TB, s *Service, req engine.NetworkRequest) testBox {
	t.Helper()
	sb, err := s.Attach(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sb.NS.Close() })
	return testBox{sb, sb.Endpoints["bridge"].IPAddress}
}

// serveTCP answers every connection with the client's address.
func (w *world) serveTCP(t testing.TB, ns *os.File, at string) {
	t.Helper()
	var l net.Listener
	w.in(t, ns, func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				fmt.Fprintf(c, "%s\n", c.RemoteAddr())
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// serveUDP answers every datagram with the client's address and the datagram.
func (w *world) serveUDP(t testing.TB, ns *os.File, at string) {
	t.Helper()
	var c net.PacketConn
	w.in(t, ns, func() (err error) {
		c, err = net.ListenPacket("udp4", at)
		return err
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(append([]byte(from.String()+" "), buf[:n]...), from)
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
}

// short is how long a test waits for what must not happen.
const short = 300 * time.Millisecond

// ask connects, sends, and gives the client's address as the server saw it.
func (w *world) ask(ns *os.File, at string, wait time.Duration) (seen string, err error) {
	var c net.Conn
	err = netns.Do(ns, func() (err error) {
		c, err = net.DialTimeout("tcp", at, wait)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, "ping"); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	data, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	seen, echo, _ := strings.Cut(string(data), "\n")
	if echo != "ping" {
		return "", fmt.Errorf("the server's answer is %q", data)
	}
	host, _, err := net.SplitHostPort(seen)
	return host, err
}

// reach demands that a server answers and tells whom it saw.
func (w *world) reach(t testing.TB, ns *os.File, at string) string {
	t.Helper()
	seen, err := w.ask(ns, at, 2*time.Second)
	if err != nil {
		t.Errorf("reach %s: %v", at, err)
	}
	return seen
}

func (w *world) unreachable(t testing.TB, ns *os.File, at string) {
	t.Helper()
	if seen, err := w.ask(ns, at, short); err == nil {
		t.Errorf("%s answers, to %s", at, seen)
	}
}

// askUDP sends one datagram and gives the client's address as the server saw it.
func (w *world) askUDP(ns *os.File, at string, wait time.Duration) (string, error) {
	var c net.Conn
	err := netns.Do(ns, func() (err error) {
		c, err = net.Dial("udp", at)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("ping")); err != nil {
		return "", err
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	seen, data, _ := strings.Cut(string(buf[:n]), " ")
	if data != "ping" {
		return "", fmt.Errorf("the server's answer is %q", buf[:n])
	}
	host, _, err := net.SplitHostPort(seen)
	return host, err
}

func (w *world) links(t testing.TB) []string {
	t.Helper()
	var out []string
	w.in(t, w.host, func() error {
		all, err := netlink.Links()
		for _, l := range all {
			out = append(out, l.Name)
		}
		return err
	})
	sort.Strings(out)
	return out
}

func (w *world) sysctl(t testing.TB, path string) string {
	t.Helper()
	var v string
	w.in(t, w.host, func() (err error) {
		v, err = sysctl(path)
		return err
	})
	return v
}

func openFiles(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// leakGate fails the test if it ends with more files or goroutines than it
// began with. It must be called before everything else.
func leakGate(t testing.TB) {
	t.Helper()
	runtime.GC()
	files, routines := openFiles(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			runtime.GC() // the runtime keeps pipes for splice(2) until then
			if openFiles(t) <= files && runtime.NumGoroutine() <= routines {
				return
			}
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<16)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Fatalf("%d files, not %d:\n%s\n%d goroutines, not %d:\n%s", openFiles(t), files, fileNames(), runtime.NumGoroutine(), routines, stacks)
			}
		}
	})
}

func fileNames() string {
	var out strings.Builder
	d, _ := os.ReadDir("/proc/self/fd")
	for _, e := range d {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		fmt.Fprintln(&out, e.Name(), name)
	}
	return out.String()
}

// ip runs ip(8) in the thread's namespace, to set up what the package cannot.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// noDAD makes IPv6 addresses usable at once.
func noDAD() error {
	return errors.Join(setSysctl("ipv6/conf/all/accept_dad", "0"), setSysctl("ipv6/conf/default/accept_dad", "0"))
}

func TestMain(m *testing.M) {
	// The runtime's own poller opens files at its first use: see leakGate.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}
