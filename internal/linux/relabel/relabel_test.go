package relabel

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// Without SELinux the attribute is one that root can give any value.
const inside, outside = "u:object_r:inside_t:s0", "u:object_r:outside_t:s0"

func needAttribute(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if testenv.Has(testenv.SELinux) {
		t.Skip("needs no SELinux: it is on")
	}
}

func context(t *testing.T, name string) string {
	t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Lgetxattr(name, attribute, buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTree(t *testing.T) {
	needAttribute(t)
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	write(t, filepath.Join(dir, "a/b/file"))
	write(t, other)
	if err := os.Symlink(other, filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{inside, inside, outside} {
		if err := Tree(dir, label); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "a", "a/b", "a/b/file", "a/link", "fifo"} {
			if got := context(t, filepath.Join(dir, name)); got != label {
				t.Errorf("%q: %q, want %q", name, got, label)
			}
		}
	}
	if got := context(t, other); got == inside || got == outside {
		t.Errorf("what a link leads to has the context %q", got)
	}
	for _, name := range []string{"/etc", "/", "/usr/../etc/"} {
		if err := Tree(name, inside); !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "SELinux relabeling of /") {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := dir
	for range 30 {
		deep = filepath.Join(deep, strings.Repeat("x", 200))
		if err := unix.Mkdir(deep, 0o755); err != nil { // longer than PATH_MAX in the end
			break
		}
	}
	if err := Tree(dir, inside); err != nil {
		t.Errorf("a deep tree: %v", err)
	}
}

// TestTreeStaysInside: whoever swaps directories for links gets nothing outside
// of the tree labelled.
func TestTreeStaysInside(t *testing.T) {
	needAttribute(t)
	dir, away := t.TempDir(), t.TempDir()
	write(t, filepath.Join(away, "secret"))
	for _, name := range []string{"real/secret", "x"} {
		write(t, filepath.Join(dir, name))
	}
	if err := os.Symlink(away, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "real"), unix.AT_FDCWD, filepath.Join(dir, "link"), unix.RENAME_EXCHANGE)
		}
	}()
	for range 500 {
		if err := Tree(dir, inside); err != nil {
			t.Errorf("while the tree changes: %v", err)
			break
		}
	}
	stop.Store(true)
	<-done
	for _, name := range []string{away, filepath.Join(away, "secret")} {
		if got := context(t, name); got == inside {
			t.Errorf("%s has the context of the tree", name)
		}
	}
}
