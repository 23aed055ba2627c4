package network

import (
	"context"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/gantry-run/gantry/internal/engine"
)

// occupy keeps a namespace with a process, as a container does, and gives its pid.
func (w *world) occupy(t testing.TB, b testBox) int {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	w.in(t, b.NS, cmd.Start) // born where the thread is
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to lose
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// A container that lives on with an address that is the bridge's by now does not
// free it when it ends: the next one would get the bridge's own.
func TestRestoreAfterTheBridgeTookAnAddress(t *testing.T) {
	w := newWorld(t)
	o := defaults(t)
	o.BIP = netip.MustParsePrefix("10.99.1.1/24")
	first := w.start(t, o)
	lives := attach(t, first, request("lives"))
	live := []engine.LiveSandbox{{ContainerID: "lives", Name: "lives", Pid: w.occupy(t, lives), Endpoints: lives.Endpoints}}
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	o.BIP = netip.PrefixFrom(lives.ip, 24)
	second := w.start(t, o)
	if err := second.Restore(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if err := second.Detach(t.Context(), "lives"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if b := attach(t, second, request(name)); b.ip == lives.ip {
			t.Errorf("container %s got the bridge's address %s", name, b.ip)
		}
	}
	// One that has its address gives it back, as ever.
	if err := second.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if b := attach(t, second, request("d")); b.ip != netip.MustParseAddr("10.99.1.1") {
		t.Errorf("container d got %s", b.ip)
	}
}
