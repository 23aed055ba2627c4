package volume

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	volumetypes "github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// image makes a root file system with all that a directory can hold.
func image(t *testing.T) *os.File {
	t.Helper()
	root := t.TempDir()
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(p("srv/data/sub/deep"), 0o755))
	must(t, os.WriteFile(p("srv/data/plain"), []byte("hello"), 0o640))
	must(t, os.Chown(p("srv/data/plain"), 1000, 1001))
	must(t, os.WriteFile(p("srv/data/tool"), bytes.Repeat([]byte("x"), 100_000), 0o755))
	must(t, os.Chown(p("srv/data/tool"), 7, 8))
	must(t, os.Chmod(p("srv/data/tool"), os.ModeSetuid|0o755))
	must(t, os.Link(p("srv/data/plain"), p("srv/data/sub/hard")))
	must(t, os.Symlink("/etc/passwd", p("srv/data/link")))
	must(t, os.Link(p("srv/data/link"), p("srv/data/sub/hardlink")))
	must(t, os.Lchown(p("srv/data/link"), 5, 6))
	must(t, unix.Mkfifo(p("srv/data/fifo"), 0o622))
	must(t, unix.Mknod(p("srv/data/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	sparse, err := os.Create(p("srv/data/sub/sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 50<<20)
	must(t, errors.Join(err, sparse.Truncate(100<<20), sparse.Close()))
	must(t, os.Chmod(p("srv/data"), os.ModeSticky|0o777))
	must(t, os.Chown(p("srv/data"), 999, 998))
	old := time.Unix(1_600_000_000, 123_456_789)
	for _, name := range []string{"srv/data/plain", "srv/data/sub/deep", "srv/data/sub", "srv/data"} {
		must(t, os.Chtimes(p(name), old, old))
	}
	must(t, os.Symlink("/srv/data", p("alias")))
	must(t, os.Symlink("../../../../../../etc", p("escape")))
	f, err := os.Open(root)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st
}

func TestCopyUp(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for _, path := range []string{"/srv/data", "alias", "/alias/sub/.."} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			root := image(t)
			v := w.create(t, volumetypes.CreateRequest{Name: "data"})
			must(t, w.CopyUp(t.Context(), int(root.Fd()), path, v.Mountpoint))
			for _, name := range []string{".", "plain", "tool", "link", "fifo", "null", "sub", "sub/deep", "sub/hard", "sub/hardlink", "sub/sparse"} {
				a, b := stat(t, filepath.Join(root.Name(), "srv/data", name)), stat(t, filepath.Join(v.Mountpoint, name))
				if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev || a.Nlink != b.Nlink || a.Mtim != b.Mtim {
					t.Errorf("%s:\n%+v\n%+v", name, a, b)
				}
				if a.Mode&unix.S_IFMT != unix.S_IFDIR && a.Size != b.Size {
					t.Errorf("%s: %d bytes; want %d", name, b.Size, a.Size)
				}
			}
			for a, b := range map[string]string{"plain": "sub/hard", "link": "sub/hardlink"} {
				if stat(t, filepath.Join(v.Mountpoint, a)).Ino != stat(t, filepath.Join(v.Mountpoint, b)).Ino {
					t.Errorf("%s and %s are two files", a, b)
				}
			}
			if target, err := os.Readlink(filepath.Join(v.Mountpoint, "link")); target != "/etc/passwd" {
				t.Errorf("link to %q, %v", target, err)
			}
			if b := stat(t, filepath.Join(v.Mountpoint, "sub/sparse")); b.Blocks*512 > 1<<20 {
				t.Errorf("the hole was filled: %d blocks", b.Blocks)
			}
			tool, err := os.ReadFile(filepath.Join(v.Mountpoint, "tool"))
			if err != nil || len(tool) != 100_000 || bytes.Trim(tool, "x") != nil && len(bytes.Trim(tool, "x")) > 0 {
				t.Errorf("tool: %d bytes, %v", len(tool), err)
			}
			if _, err := os.Lstat(filepath.Join(w.root, "volumes/data/.populating")); err == nil {
				t.Error("the marker is left")
			}
		})
	}
}

func TestCopyUpXattrs(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	root := image(t)
	file := filepath.Join(root.Name(), "srv/data/plain")
	attrs := map[string]string{
		"trusted.note": "kept", "trusted.overlay.opaque": "y",
		// cap_net_raw+ep, revision 2
		"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}
	for name, value := range attrs {
		if err := unix.Setxattr(file, name, []byte(value), 0); err != nil {
			t.Skipf("no extended attributes on %s: %v", file, err)
		}
	}
	big := bytes.Repeat([]byte("v"), 3000)
	must(t, unix.Setxattr(filepath.Join(root.Name(), "srv/data"), "trusted.big", big, 0))
	v := w.create(t, volumetypes.CreateRequest{Name: "data"})
	must(t, w.CopyUp(t.Context(), int(root.Fd()), "/srv/data", v.Mountpoint))
	for name, want := range attrs {
		got, err := readXattr(filepath.Join(v.Mountpoint, "plain"), name)
		if name == "trusted.overlay.opaque" {
			if err == nil {
				t.Error("overlay's own attribute was copied")
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if got, err := readXattr(v.Mountpoint, "trusted.big"); err != nil || !bytes.Equal(got, big) {
		t.Errorf("trusted.big: %d bytes, %v", len(got), err)
	}
}

// TestCopyUpNothing: what is no directory in the image, and what already holds
// something, is left alone.
func TestCopyUpNothing(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	root := image(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "data"})
	before := stat(t, v.Mountpoint)
	for _, path := range []string{"/none", "/srv/data/plain", "/srv/data/plain/x", "/escape", "/../../../../../../etc/ssl"} {
		must(t, w.CopyUp(t.Context(), int(root.Fd()), path, v.Mountpoint))
		if empty, err := isEmpty(v.Mountpoint); !empty || err != nil {
			t.Errorf("%s was copied (%v)", path, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(v.Mountpoint, "mine"), nil, 0o600))
	must(t, w.CopyUp(t.Context(), int(root.Fd()), "/srv/data", v.Mountpoint))
	if after := stat(t, v.Mountpoint); after.Uid != before.Uid || after.Mode != before.Mode {
		t.Error("a volume with content changed")
	}
	if _, err := os.Lstat(filepath.Join(v.Mountpoint, "plain")); err == nil {
		t.Error("a volume with content was filled")
	}
}

func TestCopyUpFailure(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	root := image(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "data"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.CopyUp(ctx, int(root.Fd()), "/srv/data", v.Mountpoint); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if ref, err := w.Ensure(t.Context(), "data", "", nil, nil); err != nil || !ref.Fresh {
		t.Errorf("after a failure: %+v, %v; want fresh", ref, err)
	}
	if err := w.CopyUp(t.Context(), int(root.Fd()), "/srv/data", "/etc/data/_data"); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("foreign path: %v", err)
	}
	if err := w.CopyUp(t.Context(), int(root.Fd()), "/srv/data", "/x/none/_data"); !errs.Is(err, errs.NotFound) {
		t.Errorf("no volume: %v", err)
	}
}
