package quota

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Namespaces: testenv.Mount, Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts}})
}

func eachKind(t *testing.T, fn func(t *testing.T, dir string, fs *Filesystem)) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := testenv.QuotaDisk(t, kind, false)
			fs, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := fs.Close(); err != nil {
					t.Error(err)
				}
			})
			fn(t, dir, fs)
		})
	}
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeUnprivileged writes without CAP_SYS_RESOURCE, with which ext4 knows no limits.
// What overlayfs writes for a container is without it, too.
func writeUnprivileged(name string, size int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its capabilities
		head, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		err := unix.Capget(&head, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
			err = unix.Capset(&head, &data[0])
		}
		if err == nil {
			err = os.WriteFile(name, make([]byte, size), 0o644)
		}
		done <- err
	}()
	return <-done
}

func TestLimit(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, fs *Filesystem) {
		id, err := fs.Unused()
		if err != nil {
			t.Fatal(err)
		}
		limited, other := mkdir(t, dir, "a"), mkdir(t, dir, "b")
		if alone, err := fs.Assign(id, limited); !alone || err != nil {
			t.Fatalf("alone %v, %v", alone, err)
		}
		if err := fs.Limit(id, 4<<20); err != nil {
			t.Fatal(err)
		}
		deep := mkdir(t, limited, "deep")
		if got, err := Project(deep); got != id || err != nil {
			t.Errorf("project of a directory in it is %d, %v, want %d", got, err, id)
		}
		if err := os.WriteFile(deep+"/f", make([]byte, 3<<20), 0o644); err != nil {
			t.Error(err)
		}
		if q, err := fs.Get(id); err != nil || q.Limit != 4<<20 || q.Used < 3<<20 || q.Inodes != 3 {
			t.Errorf("got %+v, %v", q, err)
		}
		err = writeUnprivileged(limited+"/g", 3<<20)
		if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("writing over the limit: %v", err)
		}
		if err := os.WriteFile(other+"/g", make([]byte, 8<<20), 0o644); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
		if err := fs.Limit(id, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(limited+"/g", make([]byte, 8<<20), 0o644); err != nil {
			t.Errorf("without a limit: %v", err)
		}
		if err := os.RemoveAll(limited); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) { // xfs is in no hurry
			if q, err := fs.Get(id); err == nil && q == (Quota{}) {
				break
			} else if err != nil || time.Since(begin) > time.Minute {
				t.Fatalf("afterwards: %+v, %v", q, err)
			}
		}
	})
}

// TestLimitRoundsUp: the smallest limit is one, too.
func TestLimitRoundsUp(t *testing.T) {
	for bytes, want := range map[uint64]uint64{0: 0, 1: 1, 100: 1, 512: 1, 513: 2, 4 << 20: 8 << 10, 1<<64 - 1: 1 << 55} {
		if got := basicBlocks(bytes); got != want {
			t.Errorf("%d bytes are %d blocks, want %d", bytes, got, want)
		}
	}
	eachKind(t, func(t *testing.T, _ string, fs *Filesystem) {
		id, err := fs.Unused()
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.Limit(id, 100); err != nil {
			t.Fatal(err)
		}
		if q, err := fs.Get(id); err != nil || q.Limit == 0 {
			t.Errorf("100 bytes became %+v, %v", q, err)
		}
		if err := fs.Limit(id, 0); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAssignAtOnce: of several who choose the same id at most one keeps it.
func TestAssignAtOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, fs *Filesystem) {
		for range 20 {
			id, err := fs.Unused()
			if err != nil {
				t.Fatal(err)
			}
			round := mkdir(t, dir, "round")
			var group sync.WaitGroup
			var mu sync.Mutex
			winners := 0
			for _, name := range []string{"a", "b", "c"} {
				first, second := mkdir(t, round, name), mkdir(t, round, name+"2")
				group.Go(func() {
					alone, err := fs.Assign(id, first, second)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if alone {
						winners++
					}
				})
			}
			group.Wait()
			if winners > 1 {
				t.Errorf("%d have the same project to themselves", winners)
			}
			if err := os.RemoveAll(round); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestUnsupported(t *testing.T) {
	for name, dir := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			return dir
		},
		"xfs":  func(t *testing.T) string { return testenv.QuotaDisk(t, "xfs", true) },
		"ext4": func(t *testing.T) string { return testenv.QuotaDisk(t, "ext4", true) },
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Need(t, testenv.Root)
			if _, err := Open(dir(t)); !errs.Is(err, errs.Unsupported) {
				t.Errorf("got %v", err)
			}
		})
	}
}
