package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/testenv"
)

// mappedRoot is root of a container in a user namespace, on the machine.
const mappedRoot = 100000

var mappedIDs = IDs{user.IdentityMapping{
	UIDMaps: []user.IDMap{{ParentID: mappedRoot, Count: 65536}}, GIDMaps: []user.IDMap{{ParentID: mappedRoot, Count: 65536}},
}}

// asRoot calls fn so that it makes files as the daemon does for a container in a user
// namespace.
func asRoot(ids IDs, fn func() error) error {
	return ns.OnThread(func() error {
		if err := process.OwnFiles(ids.RootPair()); err != nil {
			return err
		}
		return fn()
	})
}

func lstat(t *testing.T, name string) (uid, gid uint32, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid, info.Mode()
}

// TestUnpackGivesNothingAway: who replaces an entry that was just made gets nothing
// of the machine's.
func TestUnpackGivesNothingAway(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for name, c := range map[string]struct {
		head   tar.Header
		secret func(name string) error
	}{
		"directory for file": {tar.Header{Name: "x/", Typeflag: tar.TypeDir, Mode: 0o777}, secretFile},
		"directory":          {tar.Header{Name: "x/", Typeflag: tar.TypeDir, Mode: 0o777}, secretDir},
		"link":               {tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "to"}, secretDir},
		"pipe":               {tar.Header{Name: "x", Typeflag: tar.TypeFifo, Mode: 0o666}, secretDir},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			x, secret := filepath.Join(dir, "x"), filepath.Join(dir, "secret")
			if err := c.secret(secret); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(build(t, c.head))
			if err != nil {
				t.Fatal(err)
			}
			root, stop := openRoot(t, dir), replacing(t, x, secret)
			err = asRoot(mappedIDs, func() error {
				for range 500 {
					_ = Unpacker{Root: root, KeepKinds: true, IDs: mappedIDs}.Into(t.Context(), "/", bytes.NewReader(all)) // refused at times
				}
				return nil
			})
			stop()
			if err != nil {
				t.Fatal(err)
			}
			if uid, gid, mode := lstat(t, secret); uid != 0 || gid != 0 || mode.Perm()&0o077 != 0 {
				t.Errorf("the secret belongs to %d:%d, %s", uid, gid, mode)
			}
		})
	}
}

func secretFile(name string) error { return os.WriteFile(name, []byte("secret"), 0o600) }

func secretDir(name string) error {
	return errors.Join(os.Mkdir(name, 0o700), secretFile(filepath.Join(name, "f")))
}

// TestUnpackOverDirectories: attributes come to what is there already if it is the
// container's, and what is new has its owners wherever it is.
func TestUnpackOverDirectories(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for name, c := range map[string]struct {
		ids  IDs
		uid  int // of the directory that is there
		want uint32
		mode fs.FileMode
	}{
		"the machine's":   {mappedIDs, 0, 0, 0o700},
		"the container's": {mappedIDs, mappedRoot + 7, mappedRoot, 0o750},
		"unmapped":        {IDs{}, 7, 0, 0o750},
	} {
		dir := t.TempDir()
		old := filepath.Join(dir, "old")
		// Groups come from the directory above where it says so.
		err := errors.Join(os.Mkdir(old, 0o700), os.Chmod(dir, 0o755|fs.ModeSetgid), os.Chown(old, c.uid, c.uid))
		if err != nil {
			t.Fatal(err)
		}
		stamp, root := time.Unix(1e9, 0), openRoot(t, dir)
		heads := build(t, tar.Header{Name: "old/", Typeflag: tar.TypeDir, Mode: 0o750, ModTime: stamp}, tar.Header{Name: "old/f", Typeflag: tar.TypeReg, Mode: 0o640},
			tar.Header{Name: "new/", Typeflag: tar.TypeDir, Mode: 0o750, ModTime: stamp}, tar.Header{Name: "new/pipe", Typeflag: tar.TypeFifo, Mode: 0o640},
			tar.Header{Name: "new/link", Typeflag: tar.TypeSymlink, Linkname: "/none"}, tar.Header{Name: "new/null", Typeflag: tar.TypeChar, Mode: 0o640, Devmajor: 1, Devminor: 3})
		unpack := func() error { return Unpacker{Root: root, IDs: c.ids}.Into(t.Context(), "/", heads) }
		if c.ids.Empty() {
			err = unpack()
		} else {
			err = asRoot(c.ids, unpack)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if uid, _, mode := lstat(t, old); uid != c.want || mode.Perm() != c.mode {
			t.Errorf("%s: became %d's, %s", name, uid, mode)
		}
		if info, err := os.Stat(old); err != nil || info.ModTime().Equal(stamp) != (c.mode == 0o750) {
			t.Errorf("%s: time %v, %v", name, info.ModTime(), err)
		}
		owner := uint32(0)
		if !c.ids.Empty() {
			owner = mappedRoot
		}
		for file, want := range map[string]fs.FileMode{"old/f": 0o640, "new": 0o750, "new/pipe": 0o640, "new/link": 0o777, "new/null": 0o640} {
			if uid, gid, mode := lstat(t, filepath.Join(dir, file)); uid != owner || gid != owner || mode.Perm() != want {
				t.Errorf("%s: %s is %d:%d's, %s", name, file, uid, gid, mode)
			}
		}
	}
}

// replacing exchanges x, as soon as it is there, for the secret, and clears the place
// again. The result ends that.
func replacing(t *testing.T, x, secret string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if unix.Renameat2(unix.AT_FDCWD, x, unix.AT_FDCWD, secret, unix.RENAME_EXCHANGE) != nil {
				continue
			}
			for range 50 {
				_ = unix.Access(x, unix.F_OK) // a moment
			}
			if err := unix.Renameat2(unix.AT_FDCWD, x, unix.AT_FDCWD, secret, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
			_ = os.Remove(x)
		}
	})
	return func() { cancel(); done.Wait() }
}
