package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestRunOutputAndExitCode(t *testing.T) {
	res := run(t, "echo out; echo err >&2; hostname; pwd; exit 42", nil)
	if res.code != 42 || res.out != "out\ntesthost\n/\n" || res.err != "err\n" {
		t.Errorf("got %+v", res)
	}
}

func TestRunIsolates(t *testing.T) {
	res := run(t, `ps -o pid,args | wc -l; cat /proc/net/dev | grep -c eth; cat /proc/self/cgroup | grep -v ':/$'; readlink /proc/self/root; cat /sys/class/net/lo/flags`, nil)
	lines := strings.Split(strings.TrimSpace(res.out), "\n")
	// ps: header, sh, ps, wc; no eth; no cgroup but the root of the namespace; loopback up.
	if len(lines) != 4 || lines[1] != "0" || lines[2] != "/" || lines[3] != "0x9" {
		t.Errorf("got %q %q", res.out, res.err)
	}
}

func TestRunStdin(t *testing.T) {
	r := newRuntime(t)
	s := newStreams(t, "hello\n")
	c, p, err := r.Run(t.Context(), "stdin", CreateOptions{Bundle: newBundle(t), Spec: newSpec("cat"), IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	code := wait(t, p)
	s.done()
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	if code != 0 || s.out.String() != "hello\n" {
		t.Errorf("%d %q", code, s.out.String())
	}
}

func TestProgramErrors(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t)
	files := map[string]string{"script": "#!/no/such/interpreter\n", "garbage": "\x00garbage", "plain": "text"}
	for name, content := range files {
		mode := os.FileMode(0o755)
		if name == "plain" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(bundle, "rootfs", name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	background := background(t, nil)
	for _, tc := range []struct {
		program, text string
		kind          errs.Kind
		late          bool // only execve finds out
	}{
		{"foo", `exec: "foo": executable file not found in $PATH`, errs.NotFound, false},
		{`["foo"]`, `exec: "[\"foo\"]": executable file not found in $PATH`, errs.NotFound, false},
		{"/x", `exec: "/x": stat /x: no such file or directory`, errs.NotFound, false},
		{"/etc", `exec: "/etc": is a directory: permission denied`, errs.Permission, false},
		{"/etc/passwd", `exec: "/etc/passwd": permission denied`, errs.Permission, false},
		{"/etc/passwd/x", `exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory`, errs.Permission, false},
		{"/script", `exec /script: no such file or directory`, errs.NotFound, true},
		{"/garbage", `exec /garbage: exec format error`, errs.Permission, true},
	} {
		check := func(verb string, err error) {
			t.Helper()
			e, ok := errors.AsType[*ExecError](err)
			if !ok || err.Error() != tc.text || errs.KindOf(err) != tc.kind || e.Program != tc.program {
				t.Errorf("%s %s: got %v (%v)", verb, tc.program, err, errs.KindOf(err))
			}
		}
		_, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: newSpec(tc.program)})
		check("run", err)
		id := testenv.Unique("c")
		c, p, err := r.Create(t.Context(), id, CreateOptions{Bundle: bundle, Spec: newSpec(tc.program)})
		if tc.late {
			if err != nil {
				t.Fatalf("create %s: %v", tc.program, err)
			}
			err = c.Start(t.Context())
			wait(t, p)
			if err := c.Delete(t.Context(), false); err != nil {
				t.Error(err)
			}
		}
		check("create/start", err)
		requireNoTrace(t, r, id)
		if !tc.late {
			_, err = execIn(t, background, newProcess(tc.program))
			check("exec", err)
		}
	}
}

func TestBadCwd(t *testing.T) {
	c := background(t, nil)
	p := newProcess("true")
	p.Cwd = "/nope"
	_, err := execIn(t, c, p)
	if err == nil || err.Error() != `chdir to cwd ("/nope") set in config.json failed: no such file or directory` {
		t.Errorf("got %v", err)
	}
	// What is mounted last is there, too.
	for dir, script := range map[string]string{"/proc": "pwd; test -e version", "/proc/self": "test -e version || test -e status && pwd", "/proc/1/net/": "pwd"} {
		if res := run(t, script, func(s *specs.Spec) { s.Process.Cwd = dir }); !strings.HasPrefix(res.out, "/proc") || res.code != 0 {
			t.Errorf("%s: got %+v", dir, res)
		}
	}
	_, err = runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: func() *specs.Spec { s := newSpec("true"); s.Process.Cwd = "/proc/nope"; return s }()})
	if err == nil || err.Error() != `chdir to cwd ("/proc/nope") set in config.json failed: no such file or directory` {
		t.Errorf("got %v", err)
	}
	// run makes it, as runc does
	if res := run(t, "pwd", func(s *specs.Spec) { s.Process.Cwd = "/made/here" }); res.out != "/made/here\n" {
		t.Errorf("got %+v", res)
	}
}

func TestBadSpecs(t *testing.T) {
	r := newRuntime(t)
	for name, edit := range map[string]func(*specs.Spec){
		"no args":       func(s *specs.Spec) { s.Process.Args = nil },
		"no root":       func(s *specs.Spec) { s.Root = nil },
		"no process":    func(s *specs.Spec) { s.Process = nil },
		"relative cwd":  func(s *specs.Spec) { s.Process.Cwd = "x" },
		"NUL":           func(s *specs.Spec) { s.Process.Env = []string{"A=\x00"} },
		"uid -1":        func(s *specs.Spec) { s.Process.User.UID = ^uint32(0) },
		"gid -1":        func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{^uint32(0)} },
		"host hostname": func(s *specs.Spec) { s.Linux.Namespaces = without(s, specs.UTSNamespace) },
		"host sysctl":   func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.panic": "1"} },
		"host net sysctl": func(s *specs.Spec) {
			s.Linux.Namespaces = without(s, specs.NetworkNamespace)
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		},
		"sysctl escape":  func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net/../kernel/panic": "1"} },
		"cgroup escape":  func(s *specs.Spec) { s.Linux.CgroupsPath = "/a/../../b" },
		"cgroup root":    func(s *specs.Spec) { s.Linux.CgroupsPath = "/" },
		"unknown rlimit": func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"mount over root": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/", Type: "tmpfs", Source: "x"})
		},
		"missing source": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Type: "bind", Source: "/no/such"})
		},
		"unknown fs": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Type: "nofs", Source: "x"})
		},
		"twice the same": func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) },
		"unknown ns":     func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "x" },
		"wrong kind of ns": func(s *specs.Spec) {
			s.Linux.Namespaces = append(without(s, specs.UTSNamespace), specs.LinuxNamespace{Type: specs.UTSNamespace, Path: "/proc/self/ns/net"})
		},
		"bad memory":      func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "4711"} },
		"bad device rule": func(s *specs.Spec) { s.Linux.Resources.Devices[0].Access = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			spec := newSpec("true")
			edit(spec)
			if res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec}); err == nil {
				t.Errorf("it ran: %+v", res)
			} else {
				t.Log(err)
			}
		})
	}
}

func without(s *specs.Spec, kind specs.LinuxNamespaceType) (rest []specs.LinuxNamespace) {
	for _, n := range s.Linux.Namespaces {
		if n.Type != kind {
			rest = append(rest, n)
		}
	}
	return rest
}

func TestCreateStart(t *testing.T) {
	r := newRuntime(t)
	s := newStreams(t, "")
	c, p, err := r.Create(t.Context(), "created", CreateOptions{Bundle: newBundle(t), Spec: newSpec("echo", "started"), IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	requireStatus(t, c, specs.StateCreated)
	if _, _, err := r.Create(t.Context(), "created", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")}); !errs.Is(err, errs.Conflict) {
		t.Errorf("same id: got %v", err)
	}
	other, err := New(Options{Root: r.root})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := other.Load("created") // as another process would
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("second start: got %v", err)
	}
	if code := wait(t, p); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.done()
	if s.out.String() != "started\n" {
		t.Errorf("got %q", s.out.String())
	}
	requireStatus(t, c, specs.StateStopped)
	if err := c.Start(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("start after the end: got %v", err)
	}
	for range 2 { // idempotent
		if err := c.Delete(t.Context(), false); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Load("created"); !errs.Is(err, errs.NotFound) {
		t.Errorf("load after delete: got %v", err)
	}
}

func requireStatus(t testing.TB, c *Container, want specs.ContainerState) {
	t.Helper()
	s, err := c.State()
	if err != nil || s.Status != want || (s.Pid != 0) != (want != specs.StateStopped) {
		t.Errorf("state %+v, %v; want %s", s, err, want)
	}
}

func TestDeleteCreated(t *testing.T) {
	r := newRuntime(t)
	c, p, err := r.Create(t.Context(), "never-started", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	if code := wait(t, p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	requireNoTrace(t, r, "never-started")
}

func TestIDs(t *testing.T) {
	r := newRuntime(t)
	for _, id := range []string{"", ".", "..", "a/b", "../x", "a b", "ä", strings.Repeat("x", 500)} {
		if _, _, err := r.Run(t.Context(), id, CreateOptions{Bundle: t.TempDir(), Spec: newSpec("true")}); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%.20q: got %v", id, err)
		}
		if _, err := r.Load(id); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("load %.20q: got %v", id, err)
		}
	}
}

func TestSignalAndDelete(t *testing.T) {
	r := newRuntime(t)
	spec := newSpec("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done")
	s := newStreams(t, "")
	c, p, err := r.Run(t.Context(), "sig", CreateOptions{Bundle: newBundle(t), Spec: spec, IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), false); !errs.Is(err, errs.Conflict) {
		t.Errorf("delete of a running container: got %v", err)
	}
	eventually(t, "trap is set", func() bool {
		pids, err := c.Pids()
		return err == nil && len(pids) > 1
	})
	if err := c.Signal(t.Context(), unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, p); code != 9 {
		t.Errorf("exit code %d", code)
	}
	s.done()
	if err := c.Signal(t.Context(), unix.SIGTERM, false); !errs.Is(err, errs.Conflict) {
		t.Errorf("signal after the end: got %v", err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestDeleteForceKillsAllProcesses(t *testing.T) {
	r := newRuntime(t)
	// Without a PID namespace of its own, children survive init.
	spec := newSpec("sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000; true")
	spec.Linux.Namespaces = without(spec, specs.PIDNamespace)
	c, p, err := r.Run(t.Context(), "force", CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Signal(context.Background(), unix.SIGKILL, true) })
	eventually(t, "children", func() bool { pids, _ := c.Pids(); return len(pids) == 4 })
	if err := c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
	if code := wait(t, p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if pids, err := c.Pids(); err != nil || len(pids) > 0 {
		t.Errorf("left: %v, %v", pids, err)
	}
}

// TestKillWithoutPIDNamespace: SIGKILL to the container is for all its processes where
// they do not end with init, also when init has ended.
func TestKillWithoutPIDNamespace(t *testing.T) {
	r := newRuntime(t)
	spec := newSpec("sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000; true")
	spec.Linux.Namespaces = without(spec, specs.PIDNamespace)
	for name, initEnds := range map[string]bool{"alive": false, "init has ended": true} {
		c, p, err := r.Run(t.Context(), testenv.Unique("kill"), CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "children", func() bool { pids, _ := c.Pids(); return len(pids) == 4 })
		if initEnds {
			if err := unix.Kill(p.Pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
			wait(t, p)
		}
		if err := c.Signal(t.Context(), unix.SIGKILL, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !initEnds {
			wait(t, p)
		}
		eventually(t, "end", func() bool { pids, err := c.Pids(); return err == nil && len(pids) == 0 })
		if err := c.Delete(t.Context(), true); err != nil {
			t.Error(err)
		}
	}
}

// TestSignalBeforeStart: what would end the program ends an init that waits to become it.
func TestSignalBeforeStart(t *testing.T) {
	c, p, err := newRuntime(t).Create(t.Context(), "waiting", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(t.Context(), unix.SIGTERM, false); err != nil {
		t.Error(err)
	}
	wait(t, p)
	if err := c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	r := newRuntime(t)
	if all, err := r.List(); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	if err := os.MkdirAll(filepath.Join(r.root, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	all, err := r.List()
	if err != nil || len(all) != 1 || all[0].ID() != "broken" {
		t.Fatalf("%v, %v", all, err)
	}
	if err := r.Delete(t.Context(), "broken", false); err == nil {
		t.Error("deleted without force")
	}
	if err := r.Delete(t.Context(), "broken", true); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), "broken", true); err != nil {
		t.Errorf("force again: %v", err)
	}
	if err := r.Delete(t.Context(), "broken", false); !errs.Is(err, errs.NotFound) {
		t.Errorf("got %v", err)
	}
}

// What a thread has not opened yet when it fails must not be closed as number 0.
func TestFailureKeepsOurDescriptors(t *testing.T) {
	r := newRuntime(t)
	var before, after unix.Stat_t
	if err := unix.Fstat(0, &before); err != nil {
		t.Fatal(err)
	}
	spec := newSpec("true")
	spec.Root.Path = "/no/such/directory"
	if _, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec}); err == nil {
		t.Error("a container without a root was started")
	}
	if err := unix.Fstat(0, &after); err != nil || after.Ino != before.Ino || after.Dev != before.Dev {
		t.Errorf("standard input is gone: %v", err)
	}
}
