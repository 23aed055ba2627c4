package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

func newUnfinishedOf(t *testing.T, dir string) *unfinished {
	t.Helper()
	u, err := newUnfinished(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.close)
	return u
}

// TestUnfinishedIsOnes: two containers' checkpoints of one name do not meet until one
// of them has it.
func TestUnfinishedIsOnes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "one")
	a, b := newUnfinishedOf(t, dir), newUnfinishedOf(t, dir)
	for what, u := range map[string]*unfinished{"a": a, "b": b} {
		if err := u.write(dumpConfig, []byte(what)); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(u.where()); err != nil || info.Mode().Perm() != 0o700 || !wire.IsUnfinished(u.name) {
			t.Errorf("%s: %v, %v", u.where(), info, err)
		}
	}
	if err := a.settle(); err != nil || a.where() != dir {
		t.Fatalf("%s: %v", a.where(), err)
	}
	if err := b.settle(); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second: %v", err)
	}
	for name, want := range map[string]string{dir: "a", b.where(): "b"} {
		if data, err := os.ReadFile(filepath.Join(name, dumpConfig)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if err := b.remove(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestUnfinishedLock: as long as it is written, others can tell.
func TestUnfinishedLock(t *testing.T) {
	u := newUnfinishedOf(t, filepath.Join(t.TempDir(), "one"))
	f, err := os.Open(u.where())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("at work: %v", err)
	}
	u.close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestUnfinishedOfOthers is made in no directory in which others may write, and
// writes through no link.
func TestUnfinishedOfOthers(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "one")
	for what, change := range map[string]func() error{
		"for a group": func() error { return os.Chmod(parent, 0o770) },
		"for all":     func() error { return os.Chmod(parent, 0o1777) },
		"somebody's": func() error {
			if os.Geteuid() != 0 {
				return os.Chmod(parent, 0o722)
			}
			return errors.Join(os.Chmod(parent, 0o755), os.Chown(parent, 1000, 0))
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := newUnfinished(dir); !errs.Is(err, errs.Permission) || !strings.Contains(err.Error(), "checkpoint directory "+parent+" must belong to user") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(os.Chown(parent, os.Geteuid(), -1), os.Chmod(parent, 0o755)); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	u := newUnfinishedOf(t, dir)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, filepath.Join(u.where(), dumpConfig)); err != nil {
		t.Fatal(err)
	}
	if err := u.write(dumpConfig, []byte("{}")); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a link: %v", err)
	}
	if _, err := os.Lstat(victim); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the victim: %v", err)
	}
}
