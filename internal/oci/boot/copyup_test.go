package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/testenv"
)

func handle(t *testing.T, dir string) int {
	t.Helper()
	h, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fd.Close(h) })
	return h
}

// TestCopyUpOpensWhatItLookedAt: a device that takes the place of a file, just when
// this is copied, is not opened.
func TestCopyUpOpensWhatItLookedAt(t *testing.T) {
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	file, device := filepath.Join(dir, "from/file"), filepath.Join(dir, "device")
	for _, err := range []error{
		os.Mkdir(dir+"/from", 0o755), os.WriteFile(file, []byte("x"), 0o644),
		unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch) //nolint:errcheck // read only
	if _, err := unix.InotifyAddWatch(watch, device, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	proc, err := mount.OpenProc()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close(proc)
	from := handle(t, dir+"/from")
	ctx, cancel := context.WithCancel(t.Context())
	var swaps sync.WaitGroup
	defer swaps.Wait()
	defer cancel()
	swaps.Go(func() {
		for ctx.Err() == nil {
			if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, device, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3000 {
		to := filepath.Join(dir, "to")
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		h, err := unix.Open(to, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = copyUp(proc, from, h)
		fd.Close(h)
		if err := errors.Join(err, os.RemoveAll(to)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, unix.SizeofInotifyEvent)
	if n, err := unix.Read(watch, buf); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the device was opened: %d, %v", n, err)
	}
}
