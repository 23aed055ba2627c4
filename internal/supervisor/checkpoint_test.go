package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
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
	if err := os.Chmod(parent, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := f.Dump(t.Context(), "dumped", wire.Dump{Dir: dir}); !errs.Is(err, errs.Permission) || strings.Contains(err.Error(), "criu") {
		t.Errorf("everybody's directory: %v", err)
	}
	if err := f.Signal(t.Context(), "dumped", int(unix.SIGKILL), false); err != nil {
		t.Fatal(err)
	}
	if exit := wait("dumped", ""); exit.Code != 137 || exit.Dumped {
		t.Errorf("exit %+v", exit)
	}
}

// fakeCRIU is a program that says that it has dumped what it was asked to, after what
// then says. dd reads the request; the answer is a CriuResp with its type and success.
func fakeCRIU(t *testing.T, then string) {
	t.Helper()
	programs := t.TempDir()
	script := "#!/bin/sh\nPATH=/bin:/usr/bin\ndd bs=64k count=1 <&3 >/dev/null 2>&1\n" + then + "\nprintf '\\010\\001\\020\\001' >&3\n"
	if err := os.WriteFile(filepath.Join(programs, "criu"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs)
}

// TestDumpNotSettled: what cannot get its name is kept where there is nothing else of
// the container, and named; else it is removed.
func TestDumpNotSettled(t *testing.T) {
	f := newFixture(t)
	if _, err := f.start(t, "dumped", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	fakeCRIU(t, "mkdir -p "+parent+"/one") // an empty directory is not replaced either
	dir := filepath.Join(parent, "one")
	err := f.Dump(t.Context(), "dumped", wire.Dump{Dir: dir, LeaveRunning: true})
	if !errs.Is(err, errs.Conflict) || strings.Contains(err.Error(), "is kept") {
		t.Errorf("left running: %v", err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 || entries[0].Name() != "one" {
		t.Errorf("left: %v, %v", entries, err)
	}
	err = f.Dump(t.Context(), "dumped", wire.Dump{Dir: dir, Config: []byte("{}")})
	kept, _ := filepath.Glob(filepath.Join(parent, ".one.unfinished-*"))
	if !errs.Is(err, errs.Conflict) || len(kept) != 1 || !strings.HasSuffix(err.Error(), "is kept in "+kept[0]) {
		t.Fatalf("%v, kept %q", err, kept)
	}
	if data, err := os.ReadFile(filepath.Join(kept[0], dumpConfig)); err != nil || string(data) != "{}" {
		t.Errorf("kept: %q, %v", data, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the other's: %v, %v", entries, err)
	}
}

// TestDumpMovedAway: the directory above is somebody else's, who puts another in the
// place of the one that was checked. That one gets nothing.
func TestDumpMovedAway(t *testing.T) {
	f := newFixture(t)
	if _, err := f.start(t, "dumped", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	theirs := t.TempDir()
	parent := filepath.Join(theirs, "ck")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	fakeCRIU(t, "cd "+theirs+"; mv ck away; mkdir ck victim; for d in away/.one.*; do ln -s ../victim ck/${d#away/}; done")
	if err := f.Dump(t.Context(), "dumped", wire.Dump{Dir: filepath.Join(parent, "one"), Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(theirs, "away", "one", dumpConfig)); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(theirs, "victim")); err != nil || len(entries) > 0 {
		t.Errorf("the victim has %v, %v", entries, err)
	}
}

// TestDumpOutlastsItsContainer: what is removed afterwards has all its time.
func TestDumpOutlastsItsContainer(t *testing.T) {
	r := &run{}
	r.dumps.Lock()
	began, deadline := make(chan struct{}), make(chan time.Time)
	go func() {
		close(began)
		_ = r.afterDump(func(ctx context.Context) error {
			d, _ := ctx.Deadline()
			deadline <- d
			return nil
		})
	}()
	<-began
	time.Sleep(50 * time.Millisecond) // it waits for the lock
	over := time.Now()
	r.dumps.Unlock()
	if d := <-deadline; d.Before(over.Add(cleanup.Timeout)) {
		t.Errorf("%v of its time are gone", over.Add(cleanup.Timeout).Sub(d))
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
