package network

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	networktypes "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

func threads(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// A container that takes no connections costs its clients' waiting no threads,
// of which a process has only so many, and bounded descriptors.
func TestProxyWaitsWithoutThreads(t *testing.T) {
	leakGate(t)
	w := newWorld(t)
	// A server that never accepts: once its queue is full, the kernel drops what
	// comes, and whoever connects waits.
	server := -1
	w.in(t, w.outside, func() (err error) {
		server, err = bind(networktypes.TCP, netip.MustParseAddrPort("192.0.2.9:7000"), false, false)
		if err == nil {
			err = unix.Listen(server, 0)
		}
		return err
	})
	p, err := newProxy(w.host, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			p.close()
		}
	}()
	port := -1
	w.in(t, w.host, func() (err error) {
		port, err = bind(networktypes.TCP, netip.MustParseAddrPort("192.0.2.1:7001"), false, true)
		return err
	})
	if err := p.add(port, networktypes.TCP, netip.MustParseAddrPort("192.0.2.9:7000")); err != nil {
		t.Fatal(err)
	}
	s := p.served[port]
	before := threads(t)
	var clients []net.Conn
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for range maxDials + 44 {
		w.in(t, w.host, func() error {
			c, err := net.DialTimeout("tcp", "192.0.2.1:7001", 5*time.Second)
			if err == nil {
				clients = append(clients, c)
			}
			return err
		})
	}
	state := func() (int, bool) {
		s.dialMu.Lock()
		defer s.dialMu.Unlock()
		return s.dials, s.resting
	}
	until := func(what string, ok func(n int, resting bool) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(state()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				n, resting := state()
				t.Fatalf("not %s: %d connections are being made, resting %v", what, n, resting)
			}
		}
	}
	until("full", func(n int, resting bool) bool { return n == maxDials && resting })
	if n := threads(t); n > before+100 {
		t.Errorf("%d threads, %d before", n, before)
	}
	// The server goes: all are refused, those that waited for their turn too.
	unix.Close(server)
	for i, c := range clients {
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := c.Read(make([]byte, 1))
		if err == nil || os.IsTimeout(err) {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	until("empty", func(n int, resting bool) bool { return n == 0 && !resting })
	closed = true
	p.close()
}

// A port that goes takes along the connections that are being made.
func TestProxyStopsDialing(t *testing.T) {
	leakGate(t)
	w := newWorld(t)
	p, err := newProxy(w.host, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	port := -1
	w.in(t, w.host, func() (err error) {
		port, err = bind(networktypes.TCP, netip.MustParseAddrPort("192.0.2.1:7001"), false, true)
		return err
	})
	if err := p.add(port, networktypes.TCP, netip.MustParseAddrPort("192.0.2.77:7000")); err != nil { // nobody is there
		t.Fatal(err)
	}
	s := p.served[port]
	var c net.Conn
	w.in(t, w.host, func() (err error) {
		c, err = net.DialTimeout("tcp", "192.0.2.1:7001", 5*time.Second)
		return err
	})
	defer c.Close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.RLock()
		n := len(s.conns)
		s.mu.RUnlock()
		if n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections", n)
		}
	}
	p.remove(port)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("client: %v", err)
	}
}
