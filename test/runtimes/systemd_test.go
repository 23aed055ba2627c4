package runtimes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// boot makes a machine of its own for systemd: $1 is the directory for what it
// needs, $2 the cgroup below which all of its groups are, $3 hybrid or unified.
const boot = `set -e
for dir in /sys/fs/cgroup/*/; do
	mkdir -p "$dir$2"
	if [ -e "$dir/cpuset.cpus" ]; then # a new cpuset of v1 is empty
		for part in $(echo "$2" | tr / ' '); do
			for file in cpus mems; do cat "$dir/cpuset.$file" > "$dir/$part/cpuset.$file"; done
			dir=$dir/$part
		done
		echo $$ > "$dir/cgroup.procs"
	else
		echo $$ > "$dir$2/cgroup.procs"
	fi
done
exec unshare --mount --pid --cgroup --net --uts --ipc --fork --kill-child sh -ec '
	mount -t proc proc /proc
	mount -t tmpfs tmpfs /run
	controllers=$(cd /sys/fs/cgroup && ls)
	mount -t sysfs sysfs /sys
	if [ "$3" = hybrid ]; then
		mount -t tmpfs tmpfs /sys/fs/cgroup
		for c in $controllers; do
			mkdir /sys/fs/cgroup/$c
			case $c in
			unified) mount -t cgroup2 cgroup2 /sys/fs/cgroup/$c ;;
			systemd) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/$c ;;
			*) mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c ;;
			esac
		done
	else
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
	fi
	mkdir -p /run/units
	printf "[Unit]\nDefaultDependencies=no\n" > /run/units/box.target
	export container=other SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/systemd/system.control:/run/units
	exec /lib/systemd/systemd --system --unit=box.target --log-target=console --show-status=0
' sh "$@"`

// machine is a systemd that is process 1 of namespaces of its own.
type machine struct {
	*driver // runs a command there
	bundle  string
}

func startSystemd(t *testing.T, mode string) *machine {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/lib/systemd/systemd"), testenv.File("/bin/busybox"), testenv.Tool("nsenter"))
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil && mode == "hybrid" {
		t.Skip("needs cgroup v1: only cgroup v2 is mounted")
	}
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command("sh", "-c", boot, "sh", dir, strings.TrimPrefix(os.Getenv(cgroupEnv), "/")+"/"+mode, mode)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil { // its child with all others goes with it
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("systemd: %s", &log)
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	m := &machine{driver: &driver{t: t}, bundle: bundleOf(t, dir)}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if child, err := os.ReadFile(children); err == nil && len(bytes.TrimSpace(child)) > 0 {
			pid := strings.TrimSpace(string(child))
			m.args = []string{"nsenter", "-t", pid, "-m", "-p", "-C", "-n", "-u", "-i", "--"}
			if _, err := os.Stat("/proc/" + pid + "/root/run/systemd/private"); err == nil {
				return m
			}
		}
		if time.Since(start) > timeout {
			t.Fatalf("systemd does not answer")
		}
	}
}

// bundleOf makes a bundle with busybox.
func bundleOf(t *testing.T, dir string) string {
	t.Helper()
	bundle := filepath.Join(dir, "box")
	if out, err := exec.Command("sh", "-ec", `mkdir -p "$0"/rootfs/bin "$0"/rootfs/proc "$0"/rootfs/sys "$0"/rootfs/dev
		cp /bin/busybox "$0"/rootfs/bin/
		for a in sh grep cat sleep; do ln -s busybox "$0"/rootfs/bin/$a; done
		"$1" spec --bundle "$0"`, bundle, world.runtime).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bundle
}

// configure sets what the container runs, its place and its limits.
func (m *machine) configure(path string, resources map[string]any, args ...string) {
	m.t.Helper()
	file := filepath.Join(m.bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		m.t.Fatal(err)
	}
	process, linux := spec["process"].(map[string]any), spec["linux"].(map[string]any)
	process["args"], process["terminal"] = args, false
	resources["devices"] = []map[string]any{{"allow": false, "access": "rwm"}}
	linux["cgroupsPath"], linux["resources"] = path, resources
	linux["namespaces"] = []map[string]string{{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}}
	spec["annotations"] = map[string]string{"org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.CollectMode": "'inactive-or-failed'"}
	if data, err = json.Marshal(spec); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) runtime(args ...string) []string {
	return append([]string{world.runtime, "--root", "/run/gantry", "--systemd-cgroup"}, args...)
}

// detached starts a container that does not hold our output open.
func (m *machine) detached(id string) {
	m.t.Helper()
	m.ok(`^$`, append([]string{"sh", "-c", `"$@" >$0/log 2>&1 </dev/null || { cat $0/log; false; }`, m.bundle},
		m.runtime("run", "--detach", "--bundle", m.bundle, id)...)...)
}

// file reads a file of the machine.
func (m *machine) file(name, want string) {
	m.t.Helper()
	m.ok(`^`+want+`$`, "cat", name)
}

func TestSystemdIsNotThere(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	m := &machine{driver: &driver{t: t}, bundle: bundleOf(t, t.TempDir())}
	m.configure("", map[string]any{}, "sh")
	m.fails(1, `systemd not running on this host, cannot use systemd cgroups manager`, m.runtime("run", "--bundle", m.bundle, "x")...)
}

// TestSystemd has scopes made by a real systemd, whose writing of limits at a
// reload shows what it has been told.
func TestSystemd(t *testing.T) {
	t.Run("hybrid", func(t *testing.T) {
		m := startSystemd(t, "hybrid")
		m.lifecycle()
		m.limits()
		m.podman()
	})
	t.Run("unified", func(t *testing.T) {
		m := startSystemd(t, "unified")
		m.lifecycle()
		m.user()
	})
}

func (m *machine) lifecycle() {
	m.t.Helper()
	none := map[string]any{}
	m.configure("/a/path", none, "sh")
	m.fails(1, `expected cgroupsPath to be of format .{1,2}slice:prefix:name.{1,2} for systemd cgroups, got .{1,2}/a/path.{1,2} instead`, m.runtime("run", "--bundle", m.bundle, "x")...)

	// It is born in its scope, in which it is alone.
	m.configure("", none, "sh", "-c", "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/unified/cgroup.procs 2>/dev/null; true")
	out := m.ok(`(?m)^0::/\n1\n$|^0::/$`, m.runtime("run", "--bundle", m.bundle, "one")...)
	if strings.Contains(out, ".scope") {
		m.t.Errorf("groups of others are visible: %s", out)
	}
	m.ok(`LoadState=not-found`, "systemctl", "show", "-p", "LoadState", "gantry-one.scope")

	m.configure("machine-a.slice:box:two", none, "sleep", "1000")
	m.detached("two")
	m.ok(`(?s)ActiveState=active.*Delegate=yes|Delegate=yes.*ActiveState=active`, "systemctl", "show", "-p", "ActiveState,Delegate", "box-two.scope")
	m.ok(`(?m)^Slice=machine-a\.slice$`, "systemctl", "show", "-p", "Slice", "box-two.scope")
	m.ok(`(?m)^TimeoutStopUSec=7s$`, "systemctl", "show", "-p", "TimeoutStopUSec", "box-two.scope")
	m.ok(`(?m)^CollectMode=inactive-or-failed$`, "systemctl", "show", "-p", "CollectMode", "box-two.scope")
	m.ok(`(?m)^0::/machine\.slice/machine-a\.slice/box-two\.scope$`, "sh", "-c", "cat /proc/$("+strings.Join(m.runtime("state", "two"), " ")+" | jq .pid)/cgroup")

	// What is another container's is left alone.
	m.fails(1, `box-two\.scope.*(already loaded|was already|exists)`, m.runtime("run", "--bundle", m.bundle, "three")...)
	m.ok(`"status": "running"`, m.runtime("state", "two")...)
	m.fails(1, `does not exist`, m.runtime("state", "three")...)

	m.ok(``, "systemctl", "daemon-reload")
	m.ok(`(?m)^0::/$`, m.runtime("exec", "two", "cat", "/proc/self/cgroup")...)
	m.ok(``, m.runtime("pause", "two")...)
	m.ok(`"status": "paused"`, m.runtime("state", "two")...)
	m.ok(``, m.runtime("resume", "two")...)
	m.ok(``, m.runtime("delete", "--force", "two")...)
	m.ok(`LoadState=not-found`, "systemctl", "show", "-p", "LoadState", "box-two.scope")

	// Whoever asks systemd to stop the scope ends the container.
	m.detached("four")
	m.ok(``, "systemctl", "kill", "-s", "KILL", "box-two.scope")
	m.ok(`"status": "stopped"`, "sh", "-c", "until "+strings.Join(m.runtime("state", "four"), " ")+" | grep stopped; do sleep 0.05; done")
	m.ok(``, m.runtime("delete", "four")...)
	m.ok(`^$`, "find", "/sys/fs/cgroup", "-name", "box-*.scope")
	m.ok(`^$`, "find", "/sys/fs/cgroup", "-name", "gantry-*.scope")
}

// limits checks limits before and after systemd writes all that it knows.
func (m *machine) limits() {
	m.t.Helper()
	m.configure(":box:limits", map[string]any{
		"memory": map[string]any{"limit": 64 << 20}, "pids": map[string]any{"limit": 1},
		"cpu": map[string]any{"quota": 12345, "period": 100000, "shares": 512},
	}, "sleep", "1000")
	m.detached("limits")
	group := func(controller string) string {
		return "/sys/fs/cgroup/" + controller + "/system.slice/box-limits.scope/"
	}
	check := func(memory, pids string) {
		m.t.Helper()
		m.file(group("memory")+"memory.limit_in_bytes", memory+"\n")
		m.file(group("pids")+"pids.max", pids+"\n")
		m.file(group("cpu")+"cpu.cfs_quota_us", "13000\n") // systemd has it in hundredths
		m.file(group("cpu")+"cpu.shares", "512\n")
		m.ok(`(?m)^c 1:3 rwm$`, "cat", group("devices")+"devices.list")
		if out := m.ok(``, "cat", group("devices")+"devices.list"); strings.Contains(out, "a *:* rwm") {
			m.t.Errorf("all devices are allowed: %s", out)
		}
	}
	check("67108864", "1")
	m.ok(``, "systemctl", "daemon-reload")
	check("67108864", "1")
	m.ok(``, m.runtime("update", "--memory", "128m", "--pids-limit", "50", "limits")...)
	check("134217728", "50")
	m.ok(``, "systemctl", "daemon-reload")
	check("134217728", "50")
	// More devices, for which nobody may see a moment without any.
	file := filepath.Join(m.bundle, "resources.json")
	if err := os.WriteFile(file, []byte(`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}`), 0o644); err != nil {
		m.t.Fatal(err)
	}
	m.ok(``, m.runtime("update", "--resources", file, "limits")...)
	m.ok(`(?m)^c 10:229 rw$`, "cat", group("devices")+"devices.list")
	m.ok(`(?m)^DeviceAllow=/dev/char/10:229 rw$`, "systemctl", "show", "-p", "DeviceAllow", "box-limits.scope")
	m.ok(`"status": "running"`, m.runtime("state", "limits")...)
	m.ok(``, m.runtime("delete", "--force", "limits")...)
}

// podman drives the runtime with its own systemd driver.
func (m *machine) podman() {
	m.t.Helper()
	p := podman(m.t)
	for i, arg := range p.args {
		if arg == "--cgroup-manager=cgroupfs" {
			p.args[i] = "--cgroup-manager=systemd"
		}
	}
	p.args = append(append([]string(nil), m.args...), p.args...)
	p.ok(`^hello\n$`, "run", "--rm", "--network=none", "busybox", "echo", "hello")
	p.ok(`^[0-9a-f]{64}`, "run", "-d", "--name", "box", "--network=none", "--memory", "64m", "busybox", "sleep", "1000")
	m.ok(`(?m)^MemoryLimit=67108864$`, "sh", "-c", "systemctl show -p MemoryLimit $(systemctl list-units --plain --no-legend 'libpod-*.scope' | grep -v conmon | cut -d' ' -f1)")
	p.ok(`uid=0`, "exec", "box", "id")
	p.ok(``, "update", "--memory", "96m", "box")
	p.ok(``, "rm", "-f", "-t", "0", "box")
	// The other scopes are those of podman's monitors, which end in their own time.
	m.ok(`^$`, "sh", "-c", "systemctl list-units --plain --no-legend 'libpod-*.scope' | grep -v conmon; true")
}

// rootless is what an ordinary user does below systemd: $0 is the runtime.
const rootless = `set -e
cd /run/bundle
"$0" --systemd-cgroup spec --rootless
jq '.process.terminal = false | .process.args = ["cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.procs"]' config.json > c && mv c config.json
"$0" --systemd-cgroup run one
jq '.process.args = ["sleep", "1000"]' config.json > c && mv c config.json
"$0" --systemd-cgroup run --detach two </dev/null >/dev/null 2>&1
grep ^0: /proc/$("$0" state two | jq .pid)/cgroup
systemctl --user show -p ActiveState gantry-two.scope
"$0" exec two grep ^0: /proc/self/cgroup
"$0" pause two
"$0" state two | jq -r .status
"$0" resume two
"$0" delete --force two
systemctl --user show -p LoadState gantry-two.scope
`

// user has the systemd of a user make the scopes of the user's containers.
func (m *machine) user() {
	m.t.Helper()
	const uid, program = "65534", "/run/gantry-runtime"
	run := "/run/user/" + uid
	m.ok(``, "sh", "-ec", `mkdir -p $0; install -m 755 $1 $2; cp -r $3 /run/bundle; rm /run/bundle/config.json; chown -R $4 $0 /run/bundle; chmod 755 /run/bundle`,
		run, world.runtime, program, m.bundle, uid)
	m.ok(``, "systemd-run", "--unit=user@"+uid, "--slice=user-"+uid+".slice", "-p", "User="+uid, "-p", "Delegate=yes", "-p", "DefaultDependencies=no",
		"-E", "XDG_RUNTIME_DIR="+run, "-E", "SYSTEMD_UNIT_PATH="+run+"/systemd/transient:/usr/lib/systemd/user", "/lib/systemd/systemd", "--user")
	m.ok(``, "sh", "-c", "until [ -e "+run+"/systemd/private ]; do sleep 0.05; done")
	m.ok(``, "setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "env", "XDG_RUNTIME_DIR="+run,
		"systemd-run", "--user", "--wait", "--collect", "-p", "DefaultDependencies=no", "sh", "-c", `exec "$0" -c "$1" "$2" >"$3" 2>&1`, "/bin/sh", rootless, program, run+"/out")
	where := "/user.slice/user-" + uid + ".slice/user@" + uid + ".service/user.slice/gantry-two.scope"
	m.ok(`(?m)^0::/\n1\n0::`+where+`\nActiveState=active\n0::/\npaused\nLoadState=not-found\n$`, "cat", run+"/out")
}
