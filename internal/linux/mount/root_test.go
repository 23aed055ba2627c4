package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func openRoot(t *testing.T, dir string) Root {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return RootAt(fd)
}

func place(t *testing.T, fd int) string {
	t.Helper()
	name, err := pathOf(fd)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	return name
}

func TestOpenOrCreate(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for link, to := range map[string]string{
		"abs": "/target/a", "rel": "target/b", "up": "../../../../../../above", "chain1": "/chain2", "chain2": "chain3/x",
		"loop1": "loop2", "loop2": "/loop1", "self": "self", "through": "/abs/sub", "tofile": "/file",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		isDir bool
		want  string
	}{
		{"/", true, ""}, {"", true, ""}, {"..", true, ""}, {"new/deep/dir", true, "/new/deep/dir"}, {"/new/../../x", true, "/x"},
		{"/new/file", false, "/new/file"}, {"abs", true, "/target/a"}, {"rel", false, "/target/b"}, {"up", true, "/above"},
		{"chain1", true, "/chain3/x"}, {"through/more", true, "/target/a/sub/more"}, {"tofile", false, "/file"},
	} {
		fd, err := root.OpenOrCreate(tc.name, tc.isDir)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if is, err := IsDir(fd); err != nil || is != tc.isDir {
			t.Errorf("%s: directory %v, %v", tc.name, is, err)
		}
		if got := place(t, fd); got != dir+tc.want {
			t.Errorf("%s: got %s", tc.name, got)
		}
	}
	for _, name := range []string{"loop1", "self", "self/x"} {
		if _, err := root.OpenOrCreate(name, true); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := root.OpenOrCreate("file/below", true); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: got %v", err)
	}
	if _, err := root.OpenNoLinks("abs", unix.O_PATH); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link without links: got %v", err)
	}
}

// TestRace swaps a directory for a symlink to the outside while targets are
// made in it (CVE-2021-30465): none may land outside.
func TestRace(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	root := openRoot(t, dir)
	swap := filepath.Join(dir, "swap")
	if err := os.Mkdir(swap, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, swap, unix.AT_FDCWD, filepath.Join(dir, "link"), unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 3000 {
		if fd, err := root.OpenOrCreate("swap/a/b", true); err == nil {
			if got := place(t, fd); len(got) < len(dir) || got[:len(dir)] != dir {
				t.Errorf("got %s", got)
			}
		}
		_ = os.RemoveAll(filepath.Join(dir, "swap/a"))
	}
	close(stop)
	group.Wait()
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

func TestSplitLayers(t *testing.T) {
	got := splitLayers([]string{"index=off", "lowerdir=a:b", "upperdir=u"})
	want := []string{"index=off", "lowerdir+=a", "lowerdir+=b", "upperdir=u"}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("got %q", got)
		}
	}
}

func TestShortenLayers(t *testing.T) {
	for _, tc := range []struct{ in, dir, out string }{
		{"lowerdir=/a/b/1/fs:/a/b/22/fs", "/a/b", "lowerdir=1/fs:22/fs"},
		{"lowerdir=/a/b/1/fs", "/a/b/1", "lowerdir=fs"},
		{"lowerdir=/a/b:/ab/c", "/", "lowerdir=a/b:ab/c"},
		{"lowerdir=/a/b\\:c:/a/d", "", ""},
		{"upperdir=/u", "", "upperdir=/u"},
	} {
		dir, short := shortenLayers([]string{tc.in})
		if out := strings.Join(short, ","); dir != tc.dir || out != tc.out {
			t.Errorf("%s: got %q %q", tc.in, dir, out)
		}
	}
}

func TestParentDir(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "/a", "/a": "/", "/": "/", "/a/b/": "/a"} {
		if got := parentDir(in); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

func TestOpenBeneath(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "root/in/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"rel": "in", "around": "in/deep/../..", "abs": "/etc", "self": dir + "/root/in", "up": "../..", "proc": "/proc/self/root", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(dir, "root", link)); err != nil {
			t.Fatal(err)
		}
	}
	root := openRoot(t, filepath.Join(dir, "root"))
	for name, want := range map[string]error{
		".": nil, "in/deep": nil, "rel/deep": nil, "around/in": nil, "in/..": nil,
		"..": unix.EXDEV, "in/../..": unix.EXDEV, "/in": nil, "abs": unix.EXDEV, "self": unix.EXDEV, "up": unix.EXDEV, "proc": unix.EXDEV,
		"loop": unix.ELOOP, "none": unix.ENOENT,
	} {
		h, err := root.OpenBeneath(name, unix.O_PATH)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if err == nil {
			_ = unix.Close(h)
		}
	}
}
