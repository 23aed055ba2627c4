package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// TestDumpFails leaves nothing behind, and a container that runs and whose end is no
// checkpoint's. What dumps and restores work for is tested by test/e2e.
func TestDumpFails(t *testing.T) {
	f := newFixture(t)
	programs := t.TempDir()
	if err := os.Symlink("/bin/true", filepath.Join(programs, "criu")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs)
	wait := f.exits(t)
	if _, err := f.start(t, "dumped", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "one")
	if err := os.MkdirAll(filepath.Join(parent, ".one.unfinished", "old"), 0o700); err != nil { // of one that was killed
		t.Fatal(err)
	}
	for _, d := range []wire.Dump{{Dir: dir}, {Dir: dir, LeaveRunning: true}} {
		if err := f.Dump(t.Context(), "dumped", d); err == nil || !strings.Contains(err.Error(), "criu died") {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if err := f.Dump(t.Context(), "dumped", wire.Dump{Dir: "one"}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("a relative directory: %v", err)
	}
	if err := f.Dump(t.Context(), "nobody", wire.Dump{Dir: dir}); !errs.Is(err, errs.NotFound) {
		t.Errorf("nobody: %v", err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := f.Signal(t.Context(), "dumped", int(unix.SIGKILL), false); err != nil {
		t.Fatal(err)
	}
	if exit := wait("dumped", ""); exit.Code != 137 || exit.Dumped {
		t.Errorf("exit %+v", exit)
	}
}

// TestRestoreFails leaves neither a container nor a log.
func TestRestoreFails(t *testing.T) {
	f := newFixture(t)
	images := t.TempDir()
	restore := func(s *wire.Start, _ *specs.Spec) { s.Restore = images }
	if _, err := f.start(t, "restored", "true", restore); err == nil || !strings.Contains(err.Error(), "descriptors.json") {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.Chmod(images, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := f.start(t, "restored", "true", restore); !errs.Is(err, errs.Permission) {
		t.Errorf("everybody's directory: %v", err)
	}
	if entries, err := os.ReadDir(f.srv.restores); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := f.start(t, "restored", "true", nil); err != nil {
		t.Errorf("a start afterwards: %v", err)
	}
}
