package userns

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/netns"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	_, nerr := fd.DevNull() // what is opened once stays open
	if _, err := bare.Executable(); err != nil || nerr != nil {
		panic(errors.Join(err, nerr))
	}
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

var ids = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}, {ContainerID: 1000, HostID: 300000, Size: 10}}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func closing(t *testing.T) func(f *os.File, err error) *os.File {
	return func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil || f == nil {
			t.Fatalf("got %v, %v", f, err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
}

// TestOwner finds the user namespace that a network namespace belongs to, and makes
// one more for it.
func TestOwner(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.NetNS)
	must := closing(t)
	first, other := must(NewWithNet(ids, ids)), must(NewWithNet(ids, ids))
	owner := must(Owner(first))
	if inode(t, owner) == inode(t, must(Owner(other))) {
		t.Error("two have one owner")
	}
	second := must(NetIn(owner))
	if inode(t, second) == inode(t, first) || inode(t, must(Owner(second))) != inode(t, owner) {
		t.Error("it is not a new one of the same owner")
	}
	ours := must(netns.Current())
	if owner, err := Owner(ours); owner != nil || err != nil {
		t.Errorf("our own: %v, %v", owner, err)
	}
	if kind, err := unix.IoctlRetInt(int(must(New(ids, ids)).Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWUSER {
		t.Errorf("kind %#x, %v", kind, err)
	}
}

func TestNewErrors(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS)
	if _, err := New(append(ids[:1:1], ids[0]), ids); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("the same twice: %v", err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := NetIn(file); err == nil {
		t.Error("the null device has a network namespace")
	}
	if _, err := Owner(file); err == nil {
		t.Error("the null device has an owner")
	}
}
