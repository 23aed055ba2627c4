package supervisor

import "testing"

// TestStartDropsTheExitBefore: a daemon that was killed before its forget starts the
// container again; whoever adopts that run must not find the exit of the one before.
func TestStartDropsTheExitBefore(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "again", "exit 3", nil); err != nil {
		t.Fatal(err)
	}
	wait("again", "")
	if all, err := f.srv.exits.load(); err != nil || all["again"].Code != 3 {
		t.Fatalf("exits %v, %v", all, err)
	}
	if _, err := f.start(t, "again", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	if all, err := f.srv.exits.load(); err != nil || len(all) != 0 {
		t.Errorf("exits %v, %v", all, err)
	}
}
