package mount

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// TestMakeDir: a handle is on an empty directory, or on one that was there before.
func TestMakeDir(t *testing.T) {
	dir := t.TempDir()
	parent, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close(parent)
	full := filepath.Join(dir, "full")
	if err := errors.Join(os.Mkdir(full, 0o700), os.Mkdir(full+"/f", 0o700), os.Symlink("full", dir+"/link"), os.WriteFile(dir+"/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, made := range map[string]bool{"new": true, "full": false} {
		h, got, err := MakeDir(parent, name, 0o700)
		if err != nil || got != made {
			t.Fatalf("%s: made %v, %v", name, got, err)
		}
		if empty, err := isEmpty(h); empty != made || err != nil {
			t.Errorf("%s: empty %v, %v", name, empty, err)
		}
		fd.Close(h)
	}
	for _, name := range []string{"link", "file", "new/none/x", ""} {
		if _, _, err := MakeDir(parent, name, 0o700); err == nil {
			t.Errorf("%q was made", name)
		}
	}
	var secret unix.Stat_t
	if err := unix.Stat(full, &secret); err != nil {
		t.Fatal(err)
	}
	stop, ended := atomic.Bool{}, make(chan struct{})
	defer func() { stop.Store(true); <-ended }()
	go func() {
		defer close(ended)
		for !stop.Load() {
			if unix.Renameat2(unix.AT_FDCWD, dir+"/x", unix.AT_FDCWD, full, unix.RENAME_EXCHANGE) == nil {
				for range 50 {
					_ = unix.Access(full, unix.F_OK) // a moment
				}
				_ = unix.Renameat2(unix.AT_FDCWD, dir+"/x", unix.AT_FDCWD, full, unix.RENAME_EXCHANGE)
			}
			_ = os.Remove(dir + "/x")
		}
	}()
	for range 5000 {
		h, made, err := MakeDir(parent, "x", 0o700)
		if err != nil {
			if !errs.Is(err, errs.Conflict) && !errors.Is(err, unix.ENOENT) {
				t.Error(err)
			}
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(h, &st); err != nil || made && st.Ino == secret.Ino {
			t.Fatalf("another directory counts as new, %v", err)
		}
		fd.Close(h)
	}
}
