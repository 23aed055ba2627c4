package runtimes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// unified makes a mount namespace whose /sys/fs/cgroup is a pure cgroup v2
// hierarchy, as far as the kernel has one: controllers that v1 uses are missing
// in it.
const unified = `mkdir -p "$0" && mount -t cgroup2 cgroup2 "$0" && umount -R /sys/fs/cgroup && mount --move "$0" /sys/fs/cgroup && exec "$@"`

// TestUnifiedHierarchy runs a bundle where there is cgroup v2 only.
func TestUnifiedHierarchy(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	dir := t.TempDir()
	group := os.Getenv(cgroupEnv) + "/v2"
	if out, err := exec.Command("sh", "-c", `cd "$0" && mkdir -p box/rootfs/bin box/rootfs/proc box/rootfs/sys box/rootfs/dev &&
		cp /bin/busybox box/rootfs/bin/ && for a in sh grep cat sleep; do ln -s busybox box/rootfs/bin/$a; done`, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d := &driver{t: t, args: []string{
		"unshare", "-m", "sh", "-c", unified, filepath.Join(dir, "cgroup"), world.runtime, "--root", filepath.Join(dir, "state"),
	}}
	bundle := filepath.Join(dir, "box")
	d.ok(``, "spec", "--bundle", bundle)
	file := filepath.Join(bundle, "config.json")
	configure := func(args ...string) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var spec map[string]any
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		process, linux := spec["process"].(map[string]any), spec["linux"].(map[string]any)
		process["args"], process["terminal"] = args, false
		linux["cgroupsPath"] = group
		linux["namespaces"] = []map[string]string{{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}}
		if data, err = json.Marshal(spec); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// It is born in its group, which is the root of what it sees.
	configure("sh", "-c", "grep ^0: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; grep 'cgroup2 ro' /proc/mounts")
	d.ok(`^0::/\n1\n(.*\n)*cgroup2? /sys/fs/cgroup cgroup2 ro,`, "run", "--bundle", bundle, "one")
	configure("sleep", "1000")
	d.ok(``, "run", "--detach", "--bundle", bundle, "two")
	d.ok(`^0::/\n$`, "exec", "two", "grep", "^0:", "/proc/self/cgroup")
	d.ok(``, "pause", "two")
	d.ok(`"status": "paused"`, "state", "two")
	d.ok(``, "resume", "two")
	d.ok(`"status": "running"`, "state", "two")
	d.ok(``, "delete", "--force", "two")
	d.fails(1, `does not exist`, "state", "two")
}
