package netns_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/gantry-run/gantry/internal/linux/netns"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
}

func TestNewIsEmptyAndCallerStays(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()

	var inside []net.Interface
	ns, err := netns.New(func(*os.File) error {
		var err error
		inside, err = net.Interfaces()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for _, i := range inside {
		if i.Flags&net.FlagUp != 0 {
			t.Errorf("interface %s is up in a new namespace", i.Name)
		}
	}
	after, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if same, err := netns.Same(before, after); err != nil || !same {
		t.Fatalf("the caller's thread moved (same=%v, err=%v)", same, err)
	}
	if same, err := netns.Same(before, ns); err != nil || same {
		t.Fatalf("the new namespace is the old one (same=%v, err=%v)", same, err)
	}
}

func TestNewDropsNamespaceWhenSetupFails(t *testing.T) {
	needRoot(t)
	want := errors.New("setup failed")
	before := countFDs(t)
	ns, err := netns.New(func(*os.File) error { return want })
	if !errors.Is(err, want) || ns != nil {
		t.Fatalf("New = %v, %v", ns, err)
	}
	if after := countFDs(t); after != before {
		t.Fatalf("%d files open before, %d after", before, after)
	}
}

func TestDoFromManyGoroutines(t *testing.T) {
	needRoot(t)
	ns, err := netns.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	home, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				err := netns.Do(ns, func() error {
					if unix.Gettid() == unix.Getpid() {
						t.Error("the leading thread was switched")
					}
					here, err := netns.Current()
					if err != nil {
						return err
					}
					defer here.Close()
					if same, err := netns.Same(here, ns); err != nil || !same {
						t.Errorf("Do ran elsewhere: %v", err)
					}
					// Do inside Do, back to where we came from.
					return netns.Do(home, func() error { return nil })
				})
				if err != nil {
					t.Error(err)
				}
				here, err := netns.Current()
				if err != nil {
					t.Error(err)
					return
				}
				if same, err := netns.Same(here, home); err != nil || !same {
					t.Errorf("a thread was left in another namespace: %v", err)
				}
				here.Close()
			}
		})
	}
	wg.Wait()
}

func TestOfPid(t *testing.T) {
	needRoot(t)
	own, err := netns.OfPid(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := netns.OfPid(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("namespace of no process: %v", err)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func BenchmarkNew(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		ns, err := netns.New(nil)
		if err != nil {
			b.Fatal(err)
		}
		ns.Close()
	}
}
