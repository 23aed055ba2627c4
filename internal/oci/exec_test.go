package oci

import (
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestExec(t *testing.T) {
	c := background(t, nil)
	p := newProcess("sh", "-c", "echo out; echo err >&2; pwd; echo $A $HOME; exit 5")
	p.Cwd, p.Env = "/tmp", append(p.Env, "A=1", "A=2")
	res, err := execIn(t, c, p)
	if err != nil || res != (result{5, "out\n/tmp\n2 /root\n", "err\n"}) {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestExecJoinsEverything compares namespaces and cgroups with those of init.
func TestExecJoinsEverything(t *testing.T) {
	c := background(t, nil)
	res, err := execIn(t, c, newProcess("sh", "-c", `for n in cgroup ipc mnt net pid user uts; do
		test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo different $n; done
		readlink /proc/self/root; cat /proc/self/cgroup | grep -v ':/$'; grep -c . /proc/1/cgroup`))
	if err != nil || strings.Contains(res.out, "different") || !strings.HasPrefix(res.out, "/\n") {
		t.Errorf("got %+v, %v", res, err)
	}
	// From the host's side the process is in the very groups of init.
	r := newStreams(t, "")
	proc, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("sleep", "1000"), IO: r.io})
	r.handed()
	if err != nil {
		t.Fatal(err)
	}
	read := func(pid int) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	if a, b := read(proc.Pid), read(c.Pid()); a != b {
		t.Errorf("exec is in %s\ninit in %s", a, b)
	}
	if pids, err := c.Pids(); err != nil || len(pids) != 2 {
		t.Errorf("pids %v, %v", pids, err)
	}
	if err := unix.PidfdSendSignal(int(proc.PidFD.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Error(err)
	}
	if code := wait(t, proc); code != 137 {
		t.Errorf("exit code %d", code)
	}
	r.done()
}

func TestExecIntoStoppedAndPaused(t *testing.T) {
	c := background(t, nil)
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	requireStatus(t, c, statusPaused)
	if err := c.Pause(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("pause again: got %v", err)
	}
	if _, err := execIn(t, c, newProcess("true")); !errs.Is(err, errs.Conflict) {
		t.Errorf("exec while paused: got %v", err)
	}
	if err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	requireStatus(t, c, specs.StateRunning)
	if res, err := execIn(t, c, newProcess("true")); err != nil || res.code != 0 {
		t.Errorf("exec after resume: got %+v, %v", res, err)
	}
	if err := c.Resume(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("resume again: got %v", err)
	}

	r := newRuntime(t)
	c, p, err := r.Run(t.Context(), "short", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	if _, err := execIn(t, c, newProcess("true")); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "stopped container") {
		t.Errorf("exec after the end: got %v", err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

// TestKillPaused kills a frozen container, which must not need a resume.
func TestKillPaused(t *testing.T) {
	r := newRuntime(t)
	c, p, err := r.Run(t.Context(), "frozen", CreateOptions{Bundle: newBundle(t), Spec: newSpec("sleep", "1000")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(t.Context(), unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestExecInCreated(t *testing.T) {
	r := newRuntime(t)
	c, p, err := r.Create(t.Context(), "waiting", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")})
	if err != nil {
		t.Fatal(err)
	}
	// The waiting init must give nothing away to its container.
	res, err := execIn(t, c, newProcess("sh", "-c", "hostname; cd /proc/1/fd; for f in *; do cat $f || ls $f/. || readlink $f; done; ls /proc/1/root/ /proc/1/cwd/; head -c 1 /proc/1/environ"))
	if err != nil || res.out != "testhost\n" || !strings.Contains(res.err, "Permission denied") {
		t.Errorf("got %+v, %v", res, err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	wait(t, p)
}

func TestExecSubCgroup(t *testing.T) {
	c := background(t, nil)
	for _, bad := range []string{"..", "a/../../b", "missing"} {
		s := newStreams(t, "")
		_, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("true"), IO: s.io, Cgroups: map[string]string{"": bad}})
		s.handed()
		s.done()
		if err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestExecSubCgroups: on cgroup v1 each controller may have another group.
func TestExecSubCgroups(t *testing.T) {
	testenv.Need(t, testenv.CgroupV1)
	c := background(t, nil)
	memory := c.state.Cgroup.V1["memory"]
	if err := os.Mkdir(memory+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	try := func(groups map[string]string) (string, error) {
		s := newStreams(t, "")
		p, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("cat", "/proc/self/cgroup"), IO: s.io, Cgroups: groups})
		s.handed()
		if err == nil {
			wait(t, p)
		}
		s.done()
		return s.out.String(), err
	}
	out, err := try(map[string]string{"memory": "below", "pids": "/"})
	if err != nil || !strings.Contains(out, ":memory:/below\n") || !strings.Contains(out, ":pids:/\n") {
		t.Errorf("got %q, %v", out, err)
	}
	for _, groups := range []map[string]string{{"nope": "below"}, {"memory": "../x"}, {"memory": "missing"}, {"": "below"}} {
		if _, err := try(groups); err == nil {
			t.Errorf("%v was accepted", groups)
		}
	}
}

// What enters a container's PID namespace has nothing of its creator's: neither
// memory nor descriptors, and no file that could be written to.
func TestExecIsBornSmall(t *testing.T) {
	t.Run("plain", func(t *testing.T) { execIsBornSmall(t, background(t, nil), 6) })
	t.Run("time namespace", func(t *testing.T) {
		execIsBornSmall(t, background(t, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		}), 7)
	})
}

func execIsBornSmall(t *testing.T, c *Container, open int) {
	t.Helper()
	p, filter, err := c.planExec(&specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.spawnExec(ExecOptions{Process: &specs.Process{}}, p, filter, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.kill(); err != nil {
			t.Error(err)
		}
	}()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.child.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(maps), "\n"); n > 8 || !strings.Contains(string(maps), "memfd:gantry-init") || strings.Contains(string(maps), "heap") {
		t.Errorf("memory:\n%s", maps)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.child.Pid))
	if err != nil || !regexp.MustCompile(`NSpid:\s+\d+\s+\d+\n`).Match(status) {
		t.Errorf("it is not in the PID namespace:\n%s %v", status, err)
	}
	eventually(t, "only streams, socket, namespaces and script are open", func() bool {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.child.Pid))
		return err == nil && len(files) == open
	})
}

// A container that has used up its processes can be looked into.
func TestExecAtLimitOfProcesses(t *testing.T) {
	c := background(t, func(s *specs.Spec) {
		limit := int64(40)
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
		s.Process.Args = []string{"sh", "-c", "i=0; while [ $i -lt 39 ]; do sleep 600 & i=$((i+1)); done; wait"}
	})
	eventually(t, "the limit is reached", func() bool {
		all, err := c.Pids()
		return err == nil && len(all) >= 40
	})
	res, err := execIn(t, c, newProcess("echo", "inside"))
	if err != nil || res.out != "inside\n" {
		t.Errorf("%+v, %v", res, err)
	}
}

// A process that is frozen on its way into the container holds nobody up: neither
// other containers nor, by the garbage collector, the whole supervisor.
func TestExecAgainstPause(t *testing.T) {
	c := background(t, nil)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err = c.Pause(t.Context()); err == nil {
				runtime.GC()
				err = c.Resume(t.Context())
			}
		}
		stopped <- err
	}()
	for range 60 {
		if _, err := execIn(t, c, newProcess("true")); err != nil && !errs.Is(err, errs.Conflict) {
			t.Errorf("exec: %v", err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestIgnoredSignals: what this process ignores, containers do not.
func TestIgnoredSignals(t *testing.T) {
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	defer signal.Reset(unix.SIGHUP, unix.SIGINT)
	const show = "grep SigIgn /proc/self/status"
	taken := regexp.MustCompile(`^SigIgn:\t[0-9a-f]{15}[048c]\n$`) // bits 0 and 1 are theirs
	if res := run(t, show, nil); !taken.MatchString(res.out) {
		t.Errorf("run: got %+v", res)
	}
	bundle := newBundle(t)
	spec := newSpec("sh", "-c", show)
	mapped(t, bundle)(spec)
	if res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err != nil || !taken.MatchString(res.out) {
		t.Errorf("run by the other init: got %+v, %v", res, err)
	}
	if res, err := execIn(t, background(t, nil), newProcess("sh", "-c", show)); err != nil || !taken.MatchString(res.out) {
		t.Errorf("exec: got %+v, %v", res, err)
	}
}
