package runtimes

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// engine is a gantryd, a service of a machine's systemd, which has systemd make
// the cgroups.
type engine struct {
	*driver // the client
	m       *machine
	dir     string
	starts  int
}

func (m *machine) engine() *engine {
	m.t.Helper()
	dir := m.t.TempDir()
	for _, name := range []string{"gantry", "gantryd"} {
		tool, err := testimage.BuildTool(name, "./cmd/"+name)
		if err != nil {
			m.t.Fatal(err)
		}
		if out, err := exec.Command("cp", tool, filepath.Join(dir, name)).CombinedOutput(); err != nil {
			m.t.Fatalf("%v: %s", err, out)
		}
	}
	m.ok(``, "ln", "-s", world.runtime, filepath.Join(dir, "gantry-runtime"))
	e := &engine{m: m, dir: dir, driver: &driver{t: m.t, env: []string{"HOME=" + dir}}}
	e.args = append(append([]string(nil), m.args...), filepath.Join(dir, "gantry"), "-H", "unix:///run/gantryd.sock")
	e.start()
	e.ok(`busybox`, "load", "-q", "-i", world.image)
	return e
}

func (e *engine) unit() string { return fmt.Sprintf("gantryd%d.service", e.starts) }

// start starts the daemon, as its unit file would, and waits until it answers.
func (e *engine) start() {
	e.t.Helper()
	e.starts++
	e.m.ok(``, "systemd-run", "--unit", e.unit(), "-p", "DefaultDependencies=no", "-p", "KillMode=process", "-p", "Delegate=yes",
		"-p", "StandardError=append:"+e.dir+"/log", filepath.Join(e.dir, "gantryd"), "--data-root", e.dir+"/data", "--exec-root", "/run/gantryd",
		"-H", "unix:///run/gantryd.sock", "--pidfile", "/run/gantryd.pid", "--bridge", "none", "--exec-opt", "native.cgroupdriver=systemd", "--config-file=")
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out, code := e.run("version")
		if code == 0 {
			return
		}
		if time.Since(begin) > timeout {
			log, _ := e.m.run("cat", e.dir+"/log")
			e.t.Fatalf("gantryd does not answer: %s\n%s", out, log)
		}
	}
}

// until waits for a template's value.
func (e *engine) until(want, template, name string) {
	e.t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out, _ := e.run("inspect", "-f", template, name)
		if strings.TrimSpace(out) == want {
			return
		}
		if time.Since(begin) > timeout {
			e.t.Errorf("%s of %s is %s, not %s", template, name, out, want)
			return
		}
	}
}

// detached starts a container and gives the name of its scope.
func (e *engine) detached(args ...string) string {
	e.t.Helper()
	id := e.ok(`^[0-9a-f]{64}\n$`, append([]string{"run", "-d", "--network", "none"}, args...)...)
	return "docker-" + strings.TrimSpace(id) + ".scope"
}

// shows tells what systemd says of a unit.
func (e *engine) shows(unit, property, want string) {
	e.t.Helper()
	e.m.ok(`^`+property+`=`+want+`\n$`, "systemctl", "show", "-p", property, unit)
}

// gone waits until neither systemd nor the kernel knows a scope: a container's end
// is told before its group is removed.
func (e *engine) gone(scope string) {
	e.t.Helper()
	const script = `i=0; while [ "$(systemctl show -p LoadState $0)" != LoadState=not-found ] || [ -n "$(find /sys/fs/cgroup -name $0)" ]; do
		sleep 0.05; i=$((i+1)); [ $i -lt 400 ] || { find /sys/fs/cgroup -name $0; systemctl status $0; exit 1; }; done`
	e.m.ok(`^$`, "sh", "-c", script, scope)
}

// TestSystemdDaemon has gantryd make its containers' cgroups through a real systemd.
func TestSystemdDaemon(t *testing.T) {
	t.Run("hybrid", func(t *testing.T) {
		e := startSystemd(t, "hybrid").engine()
		e.parents()
		e.limits()
		e.outOfMemory()
		e.crashes()
	})
	t.Run("unified", func(t *testing.T) {
		e := startSystemd(t, "unified").engine()
		e.parents()
		e.crashes()
	})
}

// TestSystemdDaemonWithoutSystemd: better no daemon than one that starts nothing.
func TestSystemdDaemonWithoutSystemd(t *testing.T) {
	testenv.Need(t, testenv.Root)
	tool, err := testimage.BuildTool("gantryd", "./cmd/gantryd")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := &driver{t: t, args: []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$@"`, "sh", tool, "--data-root", dir + "/data", "--exec-root", dir + "/exec",
		"-H", "unix://" + dir + "/sock", "--pidfile", dir + "/pid", "--bridge", "none", "--config-file="}}
	d.fails(1, `native\.cgroupdriver=systemd: systemd does not run this machine`, "--exec-opt", "native.cgroupdriver=systemd")
	d.fails(1, `cgroup-parent for systemd cgroup should be a valid slice named as \\?"xxx\.slice\\?"`, "--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", "/x")
}

func (e *engine) parents() {
	e.t.Helper()
	e.ok(`(?m)^ *Cgroup Driver: systemd$`, "info")
	e.ok(`^0::/system\.slice/docker-[0-9a-f]{64}\.scope\n$`, "run", "--rm", "--network", "none", "--cgroupns", "host", "busybox", "grep", "^0:", "/proc/self/cgroup")
	scope := e.detached("--name", "box", "--cgroup-parent", "my-own.slice", "busybox", "sleep", "1000")
	e.shows(scope, "Slice", `my-own\.slice`)
	e.m.ok(`^0::/my\.slice/my-own\.slice/`+scope+`\n$`, "sh", "-c", "grep ^0: /proc/$0/cgroup", strings.TrimSpace(e.ok(``, "inspect", "-f", "{{.State.Pid}}", "box")))
	e.ok(``, "rm", "-f", "box")
	e.gone(scope)
	for _, parent := range []string{"/docker", "x", ".slice", "a--b.slice", "x/y.slice"} {
		e.fails(125, `cgroup-parent for systemd cgroup should be a valid slice named as "xxx\.slice"`, "run", "--name", "box", "--cgroup-parent", parent, "busybox", "true")
		e.fails(1, `No such container`, "container", "inspect", "box")
	}
	// Whoever asks systemd to stop the scope ends the container, and it starts again.
	scope = e.detached("--name", "box", "busybox", "sleep", "1000")
	e.m.ok(``, "systemctl", "kill", "-s", "KILL", scope)
	e.until("exited 137", "{{.State.Status}} {{.State.ExitCode}}", "box")
	e.ok(``, "start", "box")
	e.shows(scope, "ActiveState", "active")
	e.ok(``, "rm", "-f", "box")
	// A scope is made again as soon as it has ended.
	scope = e.detached("--name", "box", "--restart", "on-failure:3", "busybox", "false")
	e.until("exited 1 3", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "box")
	e.ok(``, "rm", "-f", "box")
	e.gone(scope)
}

func (e *engine) limits() {
	e.t.Helper()
	scope := e.detached("--name", "box", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "busybox", "sleep", "1000")
	check := func(bytes, pids string) {
		e.t.Helper()
		e.shows(scope, "MemoryLimit", bytes)
		e.shows(scope, "TasksMax", pids)
		group := "/system.slice/" + scope + "/"
		e.m.file("/sys/fs/cgroup/memory"+group+"memory.limit_in_bytes", bytes+"\n")
		e.m.file("/sys/fs/cgroup/pids"+group+"pids.max", pids+"\n")
		e.m.file("/sys/fs/cgroup/cpu"+group+"cpu.cfs_quota_us", "50000\n")
		e.m.file("/sys/fs/cgroup/freezer"+group+"freezer.state", "THAWED\n")
	}
	check("67108864", "50")
	e.m.ok(``, "systemctl", "daemon-reload")
	check("67108864", "50")
	e.ok(``, "update", "--memory", "96m", "--memory-swap", "200m", "--pids-limit", "60", "box")
	check("100663296", "60")
	e.m.ok(``, "systemctl", "daemon-reload")
	check("100663296", "60")
	e.ok(`/ 96MiB`, "stats", "--no-stream", "box")
	e.ok(`sleep 1000`, "top", "box")
	e.ok(``, "pause", "box")
	e.until("paused", "{{.State.Status}}", "box")
	e.ok(``, "unpause", "box")
	e.ok(`uid=0`, "exec", "box", "id")
	e.ok(``, "restart", "-t", "0", "box")
	check("100663296", "60")
	e.ok(``, "rm", "-f", "box")
	e.gone(scope)
}

// outOfMemory is a race with systemd, which removes the group that knows.
func (e *engine) outOfMemory() {
	e.t.Helper()
	for range 8 {
		scope := e.detached("--name", "box", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "exec tail /dev/zero")
		e.until("exited true 137", "{{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}", "box")
		e.ok(``, "rm", "-f", "box")
		e.gone(scope)
	}
}

// crashes kills the daemon and the supervisor of a container that goes on.
func (e *engine) crashes() {
	e.t.Helper()
	scope := e.detached("--name", "box", "--restart", "always", "--health-cmd", "test -e /healthy || touch /healthy", "--health-interval", "100ms", "busybox", "sleep", "1000")
	e.until("healthy", "{{.State.Health.Status}}", "box")
	pid := strings.TrimSpace(e.ok(`^\d+\n$`, "inspect", "-f", "{{.State.Pid}}", "box"))
	e.m.ok(``, "systemctl", "kill", "-s", "KILL", "--kill-who=main", e.unit())
	e.start()
	e.ok(`^`+pid+`\n$`, "inspect", "-f", "{{.State.Pid}}", "box")
	e.ok(`^0::/(system\.slice/`+scope+`)?\n$`, "exec", "box", "grep", "^0:", "/proc/self/cgroup") // on v1 its view is the host's
	e.shows(scope, "ActiveState", "active")
	e.m.ok(``, "sh", "-c", `for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '[r]untime supervise'; then kill -9 ${p#/proc/}; fi; done 2>/dev/null`)
	e.until("running true", "{{.State.Status}} {{.State.Running}}", "box")
	e.ok(`^0::/(system\.slice/`+scope+`)?\n$`, "exec", "box", "grep", "^0:", "/proc/self/cgroup") // on v1 its view is the host's
	e.ok(`^`+pid+`\n$`, "inspect", "-f", "{{.State.Pid}}", "box")
	e.until("healthy", "{{.State.Health.Status}}", "box")
	e.ok(``, "stop", "-t", "0", "box")
	e.gone(scope)
	e.ok(``, "start", "box")
	e.shows(scope, "ActiveState", "active")
	e.ok(``, "rm", "-f", "box")
	e.gone(scope)
	e.m.ok(`^$`, "sh", "-c", "systemctl list-units --all --plain --no-legend 'docker-*.scope'")
}
