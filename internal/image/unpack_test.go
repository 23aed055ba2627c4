package image

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testimage"
)

func build(t testing.TB, stacks ...[]testimage.File) testimage.Image {
	t.Helper()
	var layers []testimage.Layer
	for _, files := range stacks {
		l, err := testimage.NewLayer(testimage.Gzip, files...)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	img, err := testimage.New(testimage.Spec{Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Layers cannot reach outside of their directory, whatever they link to.
func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	for name, img := range map[string]testimage.Image{
		"dots":     build(t, []testimage.File{{Name: up + outside + "/new", Body: []byte("x")}}),
		"absolute": build(t, []testimage.File{{Name: outside + "/new", Body: []byte("x")}}),
		"symlink":  build(t, []testimage.File{{Name: "d", Symlink: outside}, {Name: "d/new", Body: []byte("x")}}),
		"relative symlink": build(t, []testimage.File{
			{Name: "d", Symlink: up + outside}, {Name: "d/new", Body: []byte("x")}}),
		"symlink below": build(t, []testimage.File{{Name: "d", Symlink: outside}}, []testimage.File{{Name: "d/new", Body: []byte("x")}}),
		"hardlink":      build(t, []testimage.File{{Name: "h", Hardlink: up + secret}, {Name: "h", Body: []byte("x")}}),
		"hardlink through symlink": build(t, []testimage.File{
			{Name: "d", Symlink: outside}, {Name: "h", Hardlink: "d/secret"}, {Name: "h", Body: []byte("overwritten")}}),
		"whiteout":         build(t, []testimage.File{{Name: "d", Symlink: outside}}, []testimage.File{{Name: "d/.wh.secret"}}),
		"whiteout of dots": build(t, []testimage.File{{Name: "d/"}}, []testimage.File{{Name: "d/.wh..."}}),
		"opaque":           build(t, []testimage.File{{Name: "d", Symlink: outside}, {Name: "d/.wh..wh..opq"}}),
	} {
		t.Run(name, func(t *testing.T) {
			s := openService(t, Options{})
			data := ociArchive(t, img, "x:1")
			err := s.Load(t.Context(), strings.NewReader(string(data)), nil, true, &recorder{})
			t.Logf("load: %v", err)
			names, rerr := os.ReadDir(outside)
			if rerr != nil || len(names) != 1 || readFile(t, secret) != "secret" {
				t.Errorf("outside there are now %v with %q", names, readFile(t, secret))
			}
			if err != nil {
				wantEmpty(t, s)
				return
			}
			// What was unpacked is no link to the outside either.
			err = filepath.WalkDir(filepath.Join(s.opts.Root, s.Driver(), "snapshots"), func(p string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				var st, want unix.Stat_t
				if err := unix.Lstat(p, &st); err != nil {
					return err
				}
				if err := unix.Lstat(secret, &want); err != nil {
					return err
				}
				if st.Ino == want.Ino && st.Dev == want.Dev {
					t.Errorf("%s is the file outside", p)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Attributes that steer overlayfs or the kernel are dropped, others stay.
func TestUnpackDropsForbiddenAttributes(t *testing.T) {
	img := build(t,
		[]testimage.File{{Name: "hidden/"}, {Name: "hidden/file", Body: []byte("below")}},
		[]testimage.File{{Name: "hidden/", Xattrs: map[string]string{
			"trusted.overlay.redirect": "/etc", "trusted.overlay.opaque": "y", "user.overlay.opaque": "y", "user.note": "kept",
		}}})
	s := openService(t, Options{})
	loadImage(t, s, img, "x:1")
	root := prepare(t, s, "c", "x:1")
	if got := readFile(t, root+"/hidden/file"); got != "below" {
		t.Errorf("content %q", got)
	}
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(root+"/hidden", "user.note", buf)
	if err != nil || string(buf[:n]) != "kept" {
		t.Errorf("user.note is %q, err %v", buf[:max(n, 0)], err)
	}
}

// A layer that does not describe a directory gives it the attributes that it
// has below, through any number of layers, and not past a replaced one.
func TestUnpackInheritsDirectories(t *testing.T) {
	stacks := [][]testimage.File{
		{
			{Name: "tmp/", Mode: 0o1777}, {Name: "home/", Mode: 0o750, UID: 7, GID: 8, Xattrs: map[string]string{"user.note": "kept"}},
			{Name: "home/a/", Mode: 0o700, UID: 9}, {Name: "swap/", Mode: 0o700}, {Name: "gone/", Mode: 0o700}, {Name: "gone/sub/", Mode: 0o700},
		},
		{{Name: "unrelated", Body: []byte("x")}},
		{{Name: ".wh.gone"}, {Name: ".wh.swap"}},
		{
			{Name: "tmp/file", Body: []byte("x")}, {Name: "home/a/b/file", Body: []byte("x")},
			{Name: "gone/sub/file", Body: []byte("x")}, {Name: "swap/file", Body: []byte("x")},
		},
	}
	img := build(t, stacks...)
	for _, driver := range []string{driverOverlay, driverNative} {
		t.Run(driver, func(t *testing.T) {
			s := openService(t, Options{Driver: driver})
			loadImage(t, s, img, "x:1")
			root := prepare(t, s, "c", "x:1")
			for _, c := range []struct {
				path string
				mode uint32
				uid  uint32
			}{
				{"tmp", 0o1777, 0}, {"home", 0o750, 7}, {"home/a", 0o700, 9}, {"home/a/b", 0o755, 0},
				{"gone", 0o755, 0}, {"gone/sub", 0o755, 0}, {"swap", 0o755, 0},
			} {
				var st syscall.Stat_t
				if err := syscall.Lstat(filepath.Join(root, c.path), &st); err != nil {
					t.Error(err)
					continue
				}
				if st.Mode&0o7777 != c.mode || st.Uid != c.uid || st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
					t.Errorf("%s: mode %o, uid %d, want %o, %d", c.path, st.Mode&0o7777, st.Uid, c.mode, c.uid)
				}
			}
			buf := make([]byte, 64)
			if n, err := unix.Lgetxattr(root+"/home", "user.note", buf); err != nil || string(buf[:n]) != "kept" {
				t.Errorf("user.note is %q, err %v", buf[:max(n, 0)], err)
			}
			if names, err := os.ReadDir(root + "/gone/sub"); err != nil || len(names) != 1 {
				t.Errorf("gone/sub holds %v, err %v", names, err)
			}
		})
	}
}

// Helper programs on PATH are never run.
func TestUnpackRunsNothing(t *testing.T) {
	bin, ran := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	for _, tool := range []string{"unpigz", "igzip", "pigz", "gzip", "xz", "zstd", "bzip2"} {
		if err := os.WriteFile(filepath.Join(bin, tool), []byte("#!/bin/sh\ntouch "+ran+"\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	s := openService(t, Options{})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	if err := s.Load(t.Context(), strings.NewReader(string(gzipped(dockerArchive(t, layered(t, testimage.Docker), "y:1")))), nil, true, &recorder{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); !os.IsNotExist(err) {
		t.Errorf("a helper program ran: %v", err)
	}
}
