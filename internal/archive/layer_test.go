package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func layer(t *testing.T, l Layer) (string, bool) {
	t.Helper()
	var b bytes.Buffer
	found, err := l.Pack(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	return list(t, &b), found
}

func TestLayerOfUpperDirectory(t *testing.T) {
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	root := openRoot(t, dir)
	if got, found := layer(t, Layer{Root: root}); got != "" || found {
		t.Errorf("of nothing there is %q, %v", got, found)
	}
	plant(t, dir, map[string]string{"a/new": "x", "a/l": "->/etc", "opaque/f": "y", "dev/": "", "proc/made": "z", "skipped": "s"})
	for _, err := range []error{
		unix.Mknod(dir+"/a/gone", unix.S_IFCHR, 0), unix.Mkfifo(dir+"/fifo", 0o600), os.Link(dir+"/a/new", dir+"/a/new2"),
		unix.Setxattr(dir+"/opaque", "trusted.overlay.opaque", []byte("y"), 0),
		unix.Mknod(dir+"/etc-hosts", unix.S_IFCHR, 0), unix.Mknod(dir+"/sock", unix.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	leave := map[string]bool{"/dev": true, "/proc": true, "/skipped": true, "/etc-hosts": true}
	got, found := layer(t, Layer{Root: root, Leave: leave})
	want := "a/ a/.wh.gone a/l2/etc a/new=x a/new21a/new fifo opaque/ opaque/.wh..wh..opq opaque/f=y proc/ proc/made=z"
	if got != want || !found {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// Of a changed copy only the changes are packed, with the directories on the way.
func TestLayerOfCopy(t *testing.T) {
	before, after := t.TempDir(), t.TempDir()
	when := time.Unix(1_600_000_000, 0) // cut to seconds, so that contents decide
	for _, dir := range []string{before, after} {
		plant(t, dir, map[string]string{
			"d/same": "x", "d/changed": "old", "d/gone": "x", "gone/f": "x", "e/kind/f": "x", "e/l": "->a", "e/l2": "->a",
			"f/linked": "l", "f/touched": "t", "g/mode": "m", "untouched/f": "x",
		})
	}
	for _, err := range []error{
		os.WriteFile(after+"/d/changed", []byte("new"), 0o644), os.Remove(after + "/d/gone"), os.RemoveAll(after + "/gone"),
		os.RemoveAll(after + "/e/kind"), os.WriteFile(after+"/e/kind", []byte("file"), 0o644),
		os.Remove(after + "/e/l2"), os.Symlink("b", after+"/e/l2"),
		os.MkdirAll(after+"/added/deep", 0o755), os.WriteFile(after+"/added/deep/f", []byte("a"), 0o644),
		os.Link(after+"/f/linked", after+"/h"), os.Chmod(after+"/g", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{before, after} {
		err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			ts := unix.NsecToTimespec(when.UnixNano())
			return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(after+"/f/touched", when, when.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	below := openRoot(t, before)
	got, found := layer(t, Layer{Root: openRoot(t, after), Below: &below})
	want := ".wh.gone added/ added/deep/ added/deep/f=a d/ d/.wh.gone d/changed=new e/ e/kind=file e/l22b f/ f/touched=t g/ h=l f/linked1h"
	if got != want || !found {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got, found := layer(t, Layer{Root: below, Below: &below}); got != "" || found {
		t.Errorf("of the same there is %q, %v", got, found)
	}
}

// swapper calls swap once data comes.
type swapper struct {
	bytes.Buffer
	swap func()
}

func (s *swapper) Write(p []byte) (int, error) {
	if s.swap != nil {
		s.swap()
		s.swap = nil
	}
	return s.Buffer.Write(p)
}

// What the container puts in the place of files that have been listed already is
// described as it is, never followed or waited for.
func TestLayerDoesNotFollow(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, map[string]string{"secret": "secret", "in/secret": "secret"})
	for _, copied := range []bool{false, true} {
		dir, old := t.TempDir(), t.TempDir()
		plant(t, dir, map[string]string{"a": strings.Repeat("x", 1<<20), "d/in/secret": "harmless", "f": "harmless", "p": "harmless"})
		plant(t, old, map[string]string{"d/in/secret": "harmful?", "f": "harmful?", "p": "harmful?"})
		w := &swapper{swap: func() {
			for _, err := range []error{
				os.Rename(dir+"/d", dir+"/moved"), os.Symlink(outside, dir+"/d"),
				os.Remove(dir + "/f"), os.Symlink(outside+"/secret", dir+"/f"), os.Remove(dir + "/p"), unix.Mkfifo(dir+"/p", 0o644),
			} {
				if err != nil {
					t.Error(err)
				}
			}
		}}
		l := Layer{Root: openRoot(t, dir)}
		if copied {
			below := openRoot(t, old)
			l.Below = &below
		}
		if _, err := l.Pack(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		kinds := map[string]byte{}
		for tr := tar.NewReader(&w.Buffer); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			kinds[h.Name] = h.Typeflag
			if data, _ := io.ReadAll(tr); strings.Contains(string(data), "secret") {
				t.Errorf("%s is the file outside", h.Name)
			}
		}
		if len(kinds) != 4 || kinds["d"] != tar.TypeSymlink || kinds["f"] != tar.TypeSymlink || kinds["p"] != tar.TypeFifo {
			t.Errorf("packed %v", kinds)
		}
	}
}

// Every directory on the way is open: a tree that is deeper than any name is
// refused before it takes all descriptors.
func TestPackDeepTree(t *testing.T) {
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 25 {
		if err := unix.Mkdirat(at, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	root := openRoot(t, dir)
	for what, pack := range map[string]func(context.Context, io.Writer) error{
		"export": Packer{Root: root}.All,
		"layer": func(ctx context.Context, w io.Writer) error {
			_, err := Layer{Root: root}.Pack(ctx, w)
			return err
		},
	} {
		if err := pack(t.Context(), io.Discard); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
