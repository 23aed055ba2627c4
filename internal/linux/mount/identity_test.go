package mount

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// inMounts runs f on a thread with a mount namespace of its own and a handle on
// /proc.
func inMounts(t *testing.T, f func(proc int)) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		proc := -1
		if err == nil {
			proc, err = unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			f(proc)
			err = unix.Close(proc)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func identify(t *testing.T, dir string) Identity {
	t.Helper()
	h, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return Identity{}
	}
	defer unix.Close(h) //nolint:errcheck // a handle
	id, err := Identify(h)
	if err != nil {
		t.Error(err)
	}
	return id
}

func tmpfs(t *testing.T, dir string) Identity {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Error(err)
	}
	return identify(t, dir)
}

func TestUnmountByIdentity(t *testing.T) {
	inMounts(t, func(proc int) {
		dir := t.TempDir() + "/a b\\c"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
		}
		below := identify(t, dir)
		first := tmpfs(t, dir)
		if on, err := first.LiesOn(below, proc); err != nil || !on {
			t.Errorf("lies on what is below: %v, %v", on, err)
		}
		second := tmpfs(t, dir)
		if on, err := second.LiesOn(below, proc); err != nil || on {
			t.Errorf("lies on what is below: %v, %v", on, err)
		}
		other := second
		other.Unique++
		if err := other.Unmount(proc); err != nil {
			t.Errorf("the number is another's: %v", err)
		}
		other = second
		other.Ino++
		if err := other.Unmount(proc); err != nil {
			t.Errorf("it shows another directory: %v", err)
		}
		if got := identify(t, dir); got != second {
			t.Errorf("now there is %+v, not %+v", got, second)
		}
		if err := first.Unmount(proc); err != nil { // and what lies on it
			t.Error(err)
		}
		if got := identify(t, dir); got != below {
			t.Errorf("now there is %+v, not %+v", got, below)
		}
		if err := first.Unmount(proc); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

func TestUnmountHidden(t *testing.T) {
	inMounts(t, func(proc int) {
		top := t.TempDir()
		dir := top + "/dir"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
		}
		id := tmpfs(t, dir)
		cover := tmpfs(t, top)
		if err := id.Unmount(proc); !errs.Is(err, errs.Unavailable) {
			t.Errorf("path is not there: got %v", err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
		}
		if err := id.Unmount(proc); !errs.Is(err, errs.Unavailable) {
			t.Errorf("path is on another mount: got %v", err)
		}
		if got := identify(t, top); got != cover {
			t.Errorf("now there is %+v, not %+v", got, cover)
		}
		if err := cover.Unmount(proc); err != nil {
			t.Error(err)
		}
		if err := id.Unmount(proc); err != nil {
			t.Error(err)
		}
	})
}

func TestMountTable(t *testing.T) {
	list := table{36: {parent: 35}, 37: {parent: 36}}
	list[35] = tableEntry{parent: 37} // no such thing comes from a kernel
	if !list.isOn(37, 36) || !list.isOn(37, 35) || list.isOn(36, 99) || list.isOn(99, 36) {
		t.Error("wrong order")
	}
}
