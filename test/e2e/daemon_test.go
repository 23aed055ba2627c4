package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// own starts a daemon for one test, with busybox and probe loaded.
func own(t *testing.T, o engineOptions) *engine {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir, err := os.MkdirTemp("", "e2e-own-*") // short: sockets have at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	if !contains(o.args, "--bridge") {
		o.args = append(o.args, "--bridge", bridge(t))
	}
	e, err := startEngine(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log ends with\n%s", e.logTail())
			log, _ := os.ReadFile(filepath.Join(dir, "exec/supervisor.log")) // dockerd has none
			t.Logf("the supervisor's log ends with\n%s", tail(string(log)))
		}
		if err := e.stopOwn(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, img := range []string{"busybox", "probe"} {
		if err := e.load(filepath.Join(world.archives, img+".tar")); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// bridge makes a bridge with a subnet of its own, which the test removes.
func bridge(t *testing.T) string {
	t.Helper()
	name := testenv.Link("e2e")
	subnet, gateway := testenv.Subnet()
	for _, args := range [][]string{
		{"link", "add", name, "type", "bridge"},
		{"addr", "add", fmt.Sprintf("%s/%d", gateway, subnet.Bits()), "dev", name},
		{"link", "set", name, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "del", name).CombinedOutput(); err != nil && !strings.Contains(string(out), "Cannot find device") {
			t.Errorf("delete %s: %v: %s", name, err, out)
		}
	})
	return name
}

// stopOwn ends a daemon of one test; its bridge is the test's.
func (e *engine) stopOwn() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := e.removeAll(ctx)
	if serr := e.signal(syscall.SIGTERM); err == nil {
		err = serr
	}
	if e.kind == dockerEngine {
		_ = exec.Command("umount", filepath.Join(e.dir, "exec/netns/default")).Run() // libnetwork leaves it
	}
	return err
}

// liveRestore makes dockerd do what gantryd does always.
func liveRestore() []string {
	if engineKind() == dockerEngine {
		return []string{"--live-restore"}
	}
	return nil
}

// crash kills the daemon. dockerd's own containerd goes with it only on a
// machine that restarts both: it stays, as it would below systemd.
func (e *engine) crash(t *testing.T) {
	t.Helper()
	if err := e.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{args: liveRestore()})
	c := one(t, e)
	ticking, shell, ends, stopped := c.container(), c.container(), c.container(), c.container()
	c.ok("run", "-d", "--name", ticking, "probe", "probe", "tick")
	c.ok("run", "-d", "-i", "--name", shell, "busybox", "sh")
	c.ok("run", "-d", "--name", ends, "busybox", "sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; exit 77")
	c.ok("create", "--name", stopped, "busybox", "true")
	pid := c.ok("inspect", "-f", "{{.State.Pid}}", ticking)
	root := c.ok("inspect", "-f", "{{.State.Pid}}", ends)
	before := c.ok("logs", "--tail", "1", ticking)

	e.crash(t)
	// While no daemon runs, one container ends by itself.
	if err := os.WriteFile("/proc/"+root+"/root/end", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	gone(t, root)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}

	equal(t, "process", c.ok("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", ticking), "true "+pid)
	equal(t, "exit code", c.ok("wait", ends), "77")
	equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", ends), "exited 77")
	equal(t, "never started", c.ok("inspect", "-f", "{{.State.Status}}", stopped), "created")
	c.until("more ticks", func(s string) bool { return strings.TrimSpace(s) > before && before != "" }, "logs", "--tail", "1", ticking)
	p := c.start("attach", shell)
	p.send("echo alive; exit 9\n")
	p.expect("alive\n")
	if code := p.wait(); code != 9 {
		t.Errorf("attach ended with %d, want 9", code)
	}
	equal(t, "exec", c.ok("exec", ticking, "echo", "works"), "works")
	c.ok("kill", ticking)
	equal(t, "after kill", c.ok("inspect", "-f", "{{.State.ExitCode}}", ticking), "137")
	c.ok("run", "--rm", "busybox", "true")
}

// TestDaemonKilledLogsAreWhole: a container that writes all the time loses no
// line while its daemon is killed and comes back.
func TestDaemonKilledLogsAreWhole(t *testing.T) {
	needEngine(t, gantryEngine) // dockerd copies the output itself
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	name := c.container()
	c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
	for range 3 {
		e.crash(t)
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "exit code", c.ok("wait", name), "0")
	lines := strings.Split(c.ok("logs", name), "\n")
	if len(lines) != 20000 {
		t.Errorf("%d lines, want 20000", len(lines))
	}
	for i, l := range lines {
		if l != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, l)
		}
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(data), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s does not end", pid)
		}
	}
}

// TestDaemonStoppedInOrder: SIGTERM to the daemon ends containers in Docker
// unless live restore is on; Gantry's go on.
func TestDaemonStoppedInOrder(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{args: liveRestore()})
	c := one(t, e)
	name := c.background("-p", "80")
	port := c.ok("port", name, "80")
	addr := c.address(name)
	if err := e.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(e.dir, "pid")); err == nil {
		t.Error("the pid file is left")
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	equal(t, "running", c.ok("inspect", "-f", "{{.State.Running}}", name), "true")
	equal(t, "port", c.ok("port", name, "80"), port)
	equal(t, "address", c.address(name), addr)
	// The address stays taken.
	other := c.background()
	if got := c.address(other); got == addr {
		t.Errorf("two containers have address %s", got)
	}
}

func TestStaleFiles(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{})
	e.crash(t)
	for _, f := range []string{e.sock, filepath.Join(e.dir, "pid")} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("the killed daemon left no %s", f)
		}
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	equal(t, "works", one(t, e).ok("run", "--rm", "busybox", "echo", "works"), "works")
}

// TestSecondDaemonRefuses: two daemons never share a root.
func TestSecondDaemonRefuses(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, daemonPath(), e.args...).CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("a second daemon started: %v, %s", err, out)
	}
	matches(t, "message", string(out), `(?i)(pid file found, ensure docker is not running|process with PID \d+ is still running|already|in use|lock)`)
	equal(t, "the first works", c.ok("run", "--rm", "busybox", "echo", "works"), "works")
}

func TestSideBySide(t *testing.T) {
	t.Parallel()
	a, b := own(t, engineOptions{}), own(t, engineOptions{})
	ca, cb := one(t, a), one(t, b)
	name := testenv.Unique("same")
	for _, c := range []*cli{ca, cb} {
		c.t.Cleanup(func() { c.remove(name) })
		c.ok("run", "-d", "--name", name, "busybox", "sleep", "600")
	}
	ca.ok("rm", "-f", name)
	equal(t, "the other's container", cb.ok("inspect", "-f", "{{.State.Running}}", name), "true")
	ca.ok("rmi", "busybox")
	equal(t, "the other's image", cb.ok("run", "--rm", "busybox", "echo", "kept"), "kept")
	matches(t, "pinging outside", cb.ok("run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", outsideAddr), "1 packets received")
}

// TestDiskFull: a full disk fails a load with its reason and leaves nothing.
func TestDiskFull(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	root, err := os.MkdirTemp("", "e2e-full-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
		if err := os.Remove(root); err != nil {
			t.Error(err)
		}
	})
	e := own(t, engineOptions{dataRoot: root})
	c := one(t, e)
	big := filepath.Join(t.TempDir(), "big.tar")
	makeBig(t, big, 64<<20)
	r := c.do("load", "-i", big)
	if r.code != 1 {
		t.Errorf("exit code %d, want 1; stdout %q", r.code, r.stdout)
	}
	matches(t, "stderr", r.stderr, "no space left on device")
	equal(t, "images", c.ok("images", "-q", "big"), "")
	// What was there works on, with the space that the failed load gave back.
	equal(t, "run", c.ok("run", "--rm", "busybox", "sh", "-c", "head -c 4000000 /dev/zero > /file && echo fits"), "fits")
}

func TestDaemonNotRunning(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	for _, cl := range world.clients {
		t.Run(cl.name, func(t *testing.T) {
			c := bind(t, cl, &engine{sock: "/run/no-such.sock"})
			for _, args := range [][]string{{"ps"}, {"images"}, {"info"}} {
				r := c.do(args...)
				if r.code != 1 {
					t.Errorf("%q: exit code %d, want 1", args, r.code)
				}
				matches(t, args[0], r.stdout+r.stderr, `(?i)(cannot connect to the (docker|gantry) daemon at unix:///run/no-such\.sock\. is the (docker|gantry) daemon running\?|failed to connect to the docker API at unix:///run/no-such\.sock)`)
			}
			if r := c.do("run", "busybox", "true"); r.code != 125 {
				t.Errorf("run: exit code %d, want 125; %s", r.code, r.stderr)
			}
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	for _, s := range []struct {
		name, config string
		args         []string
		want         string
	}{
		{"unknown key", `{"no-such-key": 1}`, nil, `the following directives don't match any configuration option: no-such-key`},
		{"not JSON", `{"debug": tru`, nil, `invalid character`},
		{"flag and file", `{"debug": true}`, []string{"--debug"}, `the following directives are specified both as a flag and in the configuration file: debug: \(from flag: true, from file: true\)`},
		{"unknown flag", `{}`, []string{"--no-such-flag"}, `unknown flag: --no-such-flag`},
		{"bad bip", `{}`, []string{"--bip", "nonsense"}, `(?i)invalid (CIDR|bip|argument)`},
	} {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "daemon.json")
			if err := os.WriteFile(config, []byte(s.config), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
			defer cancel()
			args := append([]string{"--config-file", config, "--data-root", dir + "/data", "--exec-root", dir + "/exec", "--pidfile", dir + "/pid", "-H", "unix://" + dir + "/sock"}, s.args...)
			cmd := exec.CommandContext(ctx, daemonPath(), args...)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			out, err := cmd.CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Errorf("the daemon started: %v", err)
			}
			matches(t, "message", string(out), s.want)
		})
	}
}

func TestRegistryMirror(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{args: []string{"--registry-mirror", world.registry.URL}})
	img, mark := uniqueImage(t)
	push(t, "library/"+mark, "latest", img)
	c := one(t, e)
	r := c.do("run", "--rm", mark, "cat", "/etc/mark")
	equal(t, "stdout", r.stdout, mark+"\n")
	matches(t, "stderr", r.stderr, "Unable to find image '"+mark+":latest' locally\nlatest: Pulling from library/"+mark)
}

// TestUnknownImage: with no registry at hand Docker's message names the host,
// and nothing is left behind.
func TestUnknownImage(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{args: []string{"--registry-mirror", world.registry.URL}})
	c := one(t, e)
	r := c.do("run", "--rm", "no-such-image-anywhere", "true")
	if r.code != 125 {
		t.Errorf("exit code %d, want 125", r.code)
	}
	matches(t, "stderr", r.stderr, `(?s)^Unable to find image 'no-such-image-anywhere:latest' locally\n.*Error response from daemon: `)
	equal(t, "containers", c.ok("ps", "-aq"), "")
}

// TestHelloWorld needs no registry.
func TestHelloWorld(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	for _, cl := range world.clients {
		c := bind(t, cl, e)
		r := c.do("run", "--rm", "hello-world")
		if r.code != 0 {
			t.Errorf("exit code %d: %s", r.code, r.stderr)
		}
		matches(t, "stdout", r.stdout, `(?i)hello from (gantry|docker)`)
		c.ok("rmi", "hello-world")
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{args: []string{"-H", "tcp://127.0.0.1:32375", "--tls=false"}})
	c := one(t, e)
	equal(t, "over TCP", strings.TrimSpace(doHost(t, c, "tcp://127.0.0.1:32375", "run", "--rm", "busybox", "echo", "tcp")), "tcp")
}

// doHost runs a command of the client against another host.
func doHost(t *testing.T, c *cli, host string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, append([]string{"-H", host}, args...)...)
	cmd.Env = append(c.cmd(ctx).Env, "DOCKER_TLS_VERIFY=")
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%q: %v", args, err)
	}
	return string(out)
}
