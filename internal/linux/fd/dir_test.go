package fd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestOpenIn(t *testing.T) {
	dir := t.TempDir()
	h, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(h)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("kept"), 0o600), os.Symlink(victim, filepath.Join(dir, "link")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.Symlink(".", filepath.Join(dir, "self"))); err != nil {
		t.Fatal(err)
	}
	f, err := OpenIn(h, "new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	_ = f.Close()
	for _, tc := range []struct {
		name  string
		flags int
		want  error
	}{
		{"new", unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, unix.EEXIST},
		{"link", unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, unix.ELOOP},
		{"link", unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, unix.EEXIST},
		{"pipe", unix.O_RDONLY, unix.EINVAL},
		{"self", unix.O_RDONLY | unix.O_DIRECTORY, unix.ENOTDIR},
		{".", unix.O_RDONLY, unix.EINVAL},
	} {
		if f, err := OpenIn(h, tc.name, tc.flags); !errors.Is(err, tc.want) {
			t.Errorf("%s %#o: %v", tc.name, tc.flags, err)
			_ = f.Close()
		}
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "kept" {
		t.Errorf("the victim holds %q, %v", data, err)
	}
}

func TestCheckOwn(t *testing.T) {
	dir := t.TempDir()
	h, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(h)
	for mode, own := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o720: false, 0o702: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckOwn(h, dir); (err == nil) != own || err != nil && !errs.Is(err, errs.Permission) {
			t.Errorf("%#o: %v", mode, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 1000, 0)); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwn(h, dir); !errs.Is(err, errs.Permission) {
		t.Errorf("somebody's: %v", err)
	}
}
