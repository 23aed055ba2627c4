package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// quotaEngine starts a daemon whose data is on a filesystem with project quotas.
func quotaEngine(t *testing.T, disk, name string, args ...string) *engine {
	t.Helper()
	return own(t, engineOptions{dataRoot: filepath.Join(disk, name), args: args})
}

// eachQuotaDisk runs fn for the filesystems that have quotas of projects.
func eachQuotaDisk(t *testing.T, fn func(t *testing.T, disk string)) {
	needEngine(t, gantryEngine)
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) { fn(t, testenv.QuotaDisk(t, kind, false)) })
	}
}

// write is a command that writes so many MiB into the container's root.
func write(size int) []string {
	return []string{"dd", "if=/dev/zero", "of=/file", "bs=1M", fmt.Sprintf("count=%d", size)}
}

func (c *cli) runs(code int, flags []string, command []string) string {
	c.t.Helper()
	args := append(append([]string{"run", "--name", c.container()}, flags...), "busybox")
	r := c.do(append(args, command...)...)
	if r.code != code {
		c.t.Errorf("%q ended with %d, want %d: %s", args, r.code, code, r.stderr)
	}
	return r.stderr
}

const overLimit = "No space left on device|[Qq]uota exceeded"

// TestStorageQuota: a container writes no more than it may, and keeps others from
// nothing. The limit outlives the daemon.
func TestStorageQuota(t *testing.T) {
	eachQuotaDisk(t, func(t *testing.T, disk string) {
		e := quotaEngine(t, disk, "data")
		c := one(t, e)
		limit := []string{"--storage-opt", "size=16M"}
		c.runs(0, limit, write(8))
		matches(t, "over the limit", c.runs(1, limit, write(32)), overLimit)
		matches(t, "less than a block", c.runs(125, []string{"--storage-opt", "size=100"}, write(8)), "no space left on device|quota exceeded") // not even to start
		c.runs(0, nil, write(32))
		c.runs(0, []string{"--storage-opt", "size=0"}, write(32))

		name := c.container()
		c.ok("run", "-d", "--name", name, "--storage-opt", "size=16m", "busybox", "sleep", "600")
		equal(t, "inspect", c.ok("inspect", "-f", "{{.HostConfig.StorageOpt}}", name), "map[size:16m]")
		e.crash(t)
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		matches(t, "after a restart", c.fails(1, append([]string{"exec", name}, write(32)...)...), overLimit)
		c.ok("exec", name, "rm", "/file")
		c.ok(append([]string{"exec", name}, write(8)...)...)
		c.ok("commit", name, "quota:latest")
		equal(t, "committed", c.ok("run", "--rm", "quota", "stat", "-c", "%s", "/file"), "8388608")
		c.ok("restart", "-t", "0", name)
		matches(t, "started again", c.fails(1, append([]string{"exec", name}, write(32)...)...), overLimit)

		matches(t, "size", c.fails(1, "create", "--storage-opt", "size=abc", "busybox"), "invalid size: 'abc'")
		matches(t, "option", c.fails(1, "create", "--storage-opt", "foo=1", "busybox"), "Unknown option foo")
		if err := e.removeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		noLimits(t, disk)
	})
}

// TestStorageQuotaByDefault: the daemon's option is for containers that have none.
func TestStorageQuotaByDefault(t *testing.T) {
	eachQuotaDisk(t, func(t *testing.T, disk string) {
		c := one(t, quotaEngine(t, disk, "data", "--storage-opt", "overlay2.size=16M"))
		matches(t, "by default", c.runs(1, nil, write(32)), overLimit)
		c.runs(0, []string{"--storage-opt", "size=48M"}, write(32))
	})
}

// TestStorageQuotaStays: a process of a container cannot leave its project, or enter another.
func TestStorageQuotaStays(t *testing.T) {
	eachQuotaDisk(t, func(t *testing.T, disk string) {
		c := one(t, quotaEngine(t, disk, "data"))
		// One without a limit could fill the project of one that has one.
		for _, limit := range [][]string{{"--storage-opt", "size=16m"}, nil} {
			name := c.container()
			c.ok(append(append([]string{"run", "-d", "--name", name}, limit...), "probe", "sleep", "600")...)
			c.ok("exec", name, "touch", "/file")
			for _, file := range []string{"/file", "/"} {
				c.fails(1, "exec", name, "probe", "project", file)
			}
		}
	})
}

// TestStorageQuotasOfTwoDaemons: projects are shared neither with the other daemon
// on the disk nor left behind by one that is killed.
func TestStorageQuotasOfTwoDaemons(t *testing.T) {
	eachQuotaDisk(t, func(t *testing.T, disk string) {
		a, b := quotaEngine(t, disk, "a"), quotaEngine(t, disk, "b")
		const each = 10
		var group sync.WaitGroup
		for _, e := range []*engine{a, b} {
			c := one(t, e)
			for range each {
				name := c.container()
				group.Go(func() {
					if r := c.do("create", "--name", name, "--storage-opt", "size=16m", "busybox"); r.code != 0 {
						t.Error(r.stderr)
					}
				})
			}
		}
		group.Wait()
		if got := len(limits(t, disk)); got != 2*each {
			t.Errorf("%d projects for %d containers", got, 2*each)
		}
		if err := a.removeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := one(t, b)
		for range 5 { // killed amid creations and removals
			group.Go(func() { time.Sleep(50 * time.Millisecond); b.crash(t) })
			for range 4 {
				group.Go(func() {
					for name := c.container(); c.do("create", "--name", name, "--storage-opt", "size=16m", "busybox").code == 0; name = c.container() {
						c.do("rm", "-f", name)
					}
				})
			}
			group.Wait()
			if err := b.start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.removeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		noLimits(t, disk)
	})
}

// noLimits waits until no project has a limit any more.
func noLimits(t *testing.T, disk string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		left := limits(t, disk)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("projects with limits are left: %d", left)
		}
	}
}

// limits lists the projects that have a limit, see quotactl(2).
func limits(t *testing.T, disk string) (ids []uint32) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const nextQuota, project = 'X'<<8 + 9, 2 // Q_XGETNEXTQUOTA, PRJQUOTA
	for next := uint32(1); ; next++ {
		quota := make([]byte, 112) // struct fs_disk_quota
		_, _, no := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), nextQuota<<8|project, uintptr(next), uintptr(unsafe.Pointer(&quota[0])), 0, 0)
		if no == unix.ENOENT || no == unix.ESRCH {
			return ids
		}
		if no != 0 {
			t.Fatal(no)
		}
		next = binary.NativeEndian.Uint32(quota[4:])
		if binary.NativeEndian.Uint64(quota[8:]) != 0 { // d_blk_hardlimit
			ids = append(ids, next)
		}
	}
}
