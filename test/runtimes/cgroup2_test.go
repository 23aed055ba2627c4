package runtimes

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

// unified makes a mount namespace whose /sys/fs/cgroup is a pure cgroup v2
// hierarchy, as far as the kernel has one: controllers that v1 uses are missing
// in it.
const unified = `mkdir -p "$0" && mount -t cgroup2 cgroup2 "$0" && umount -R /sys/fs/cgroup && mount --move "$0" /sys/fs/cgroup && exec "$@"`

// TestUnifiedHierarchy runs a bundle where there is cgroup v2 only.
func TestUnifiedHierarchy(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	dir, b := t.TempDir(), newBundle(t)
	d := &driver{t: t, args: []string{
		"unshare", "-m", "sh", "-c", unified, filepath.Join(dir, "cgroup"), world.runtime, "--root", filepath.Join(dir, "state"),
	}}
	d.ok(``, "spec", "--bundle", b.path)
	grouped := func(s *specs.Spec) {
		s.Linux.CgroupsPath = os.Getenv(cgroupEnv) + "/v2"
	}
	// It is born in its group, which is the root of what it sees.
	b.configure(grouped, "sh", "-c", "grep ^0: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; grep 'cgroup2 ro' /proc/mounts")
	d.ok(`^0::/\n1\n(.*\n)*cgroup2? /sys/fs/cgroup cgroup2 ro,`, "run", "--bundle", b.path, "one")
	b.configure(nil, "sleep", "1000")
	d.ok(``, "run", "--detach", "--bundle", b.path, "two")
	d.ok(`^0::/\n$`, "exec", "two", "grep", "^0:", "/proc/self/cgroup")
	d.ok(``, "pause", "two")
	d.ok(`"status": "paused"`, "state", "two")
	d.ok(``, "resume", "two")
	d.ok(`"status": "running"`, "state", "two")
	d.ok(``, "delete", "--force", "two")
	d.fails(1, `does not exist`, "state", "two")
}
