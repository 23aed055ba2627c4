package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

func walked(t *testing.T, root mount.Root) string {
	t.Helper()
	var all []string
	err := Walk(t.Context(), root, func(at string, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			at += "/"
		}
		all = append(all, at)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"b/f": "x", "b/a/": "", "a": "x", "c": "->b", "b.x": "y"})
	if got, want := walked(t, openRoot(t, dir)), "/a /b/ /b/a/ /b/f /b.x /c"; got != want {
		t.Errorf("walked %s, want %s", got, want)
	}
	stop := errors.New("enough")
	if err := Walk(t.Context(), openRoot(t, dir), func(string, *unix.Stat_t) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Walk(ctx, openRoot(t, dir), func(string, *unix.Stat_t) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled walk: %v", err)
	}
	if _, err := Usage(ctx, openRoot(t, dir)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled measuring: %v", err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	measure := func() int64 {
		t.Helper()
		n, err := Usage(t.Context(), openRoot(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := measure()
	big := strings.Repeat("x", 1<<20)
	plant(t, dir, map[string]string{"d/big": big, "l": "->d", "m": "->/etc"})
	if err := errors.Join(os.Link(dir+"/d/big", dir+"/again"), os.Truncate(dir+"/d/big", 1<<40)); err != nil {
		t.Fatal(err)
	}
	if got := measure() - before; got < 1<<20 || got > 3<<19 {
		t.Errorf("a file of 1 MiB with two names and a hole takes %d", got)
	}
	for i := range 2*usageNames + 1 { // more than are read at a time
		if err := os.Symlink("x", filepath.Join(dir, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	measure()
}

// TestWalkDeepTree: names that nobody could write out are refused where names are
// wanted, and do not count where sizes are.
func TestWalkDeepTree(t *testing.T) {
	dir := t.TempDir()
	h, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	for range usageDepth + 100 {
		if err == nil {
			err = unix.Mkdirat(h, "d", 0o700)
		}
		if err == nil {
			next, operr := unix.Openat(h, "d", unix.O_PATH|unix.O_CLOEXEC, 0)
			_, err = unix.Close(h), operr
			h = next
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(h)
	if err := Walk(t.Context(), openRoot(t, dir), func(string, *unix.Stat_t) error { return nil }); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("walk: %v", err)
	}
	if _, err := Usage(t.Context(), openRoot(t, dir)); err != nil {
		t.Errorf("usage: %v", err)
	}
}

// TestWalkStaysInside: directories that are swapped for links while they are walked
// lead nowhere else.
func TestWalkStaysInside(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	plant(t, outside, map[string]string{"sub/secret": strings.Repeat("x", 4<<20), "secret": "x"})
	inside := map[string]string{"links/d": "->" + outside}
	for _, n := range strings.Split(strings.Repeat("x", 60), "") {
		inside["d/sub/"+n+"/f"] = "x"
	}
	plant(t, dir, inside)
	ctx, cancel := context.WithCancel(t.Context())
	var swaps sync.WaitGroup
	defer swaps.Wait()
	defer cancel()
	swaps.Go(func() {
		for ctx.Err() == nil {
			if err := unix.Renameat2(unix.AT_FDCWD, dir+"/d", unix.AT_FDCWD, dir+"/links/d", unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
		}
	})
	root := openRoot(t, dir)
	for range 2000 {
		if got := walked(t, root); strings.Contains(got, "secret") {
			t.Fatalf("walked outside: %s", got)
		}
		if n, err := Usage(t.Context(), root); err != nil || n > 2<<20 {
			t.Fatalf("measured %d outside, %v", n, err)
		}
	}
}
