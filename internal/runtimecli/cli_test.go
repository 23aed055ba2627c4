package runtimecli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/testenv"
)

func init() { boot.LockMainThread() }

// cliEnv makes the test binary the runtime itself.
const cliEnv = "GANTRY_TEST_RUNTIME"

var cgroupRoot = fmt.Sprintf("/gantry-cli-test-%d", os.Getpid())

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == boot.Verb {
		os.Exit(boot.Main(os.Args[2:]))
	}
	if os.Getenv(cliEnv) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	testenv.Main(m, testenv.Options{
		Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts, testenv.Children, testenv.Cgroups(cgroupRoot)},
		Setup: func() (func() error, error) {
			return func() error { return testenv.RemoveCgroups(cgroupRoot) }, nil
		},
	})
}

// fixture is a state root and a bundle.
type fixture struct {
	t            *testing.T
	root, bundle string
	spec         *specs.Spec
}

func newFixture(t *testing.T, args ...string) *fixture {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	f := &fixture{t, t.TempDir(), t.TempDir(), exampleSpec(cgroup.UnifiedOnly())}
	busybox, err := os.ReadFile("/bin/busybox")
	f.must(err)
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		f.must(os.MkdirAll(filepath.Join(f.bundle, "rootfs", d), 0o755))
	}
	f.must(os.WriteFile(filepath.Join(f.bundle, "rootfs/bin/busybox"), busybox, 0o755))
	for _, a := range []string{"sh", "true", "sleep", "echo", "id", "cat", "ls", "kill", "env", "tty"} {
		f.must(os.Symlink("busybox", filepath.Join(f.bundle, "rootfs/bin", a)))
	}
	f.spec.Process.Terminal, f.spec.Process.Args = false, args
	f.spec.Linux.CgroupsPath = cgroupRoot + "/" + testenv.Unique("c")
	f.write()
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) write() {
	f.t.Helper()
	data, err := json.Marshal(f.spec)
	f.must(err)
	f.must(os.WriteFile(filepath.Join(f.bundle, "config.json"), data, 0o644))
}

func (f *fixture) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"--root", f.root}, args...)...)
	cmd.Env = append(os.Environ(), cliEnv+"=1")
	cmd.Dir = f.bundle
	return cmd
}

// cli runs a command line and gives its streams and exit code. The streams are
// files, as a detached container keeps them open.
func (f *fixture) cli(args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	dir := f.t.TempDir()
	open := func(name string) *os.File {
		file, err := os.Create(filepath.Join(dir, name))
		f.must(err)
		return file
	}
	out, errs := open("out"), open("err")
	defer func() { _ = out.Close(); _ = errs.Close() }()
	cmd := f.command(args...)
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		f.must(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		f.must(err)
		return string(data)
	}
	return read("out"), read("err"), code
}

func (f *fixture) want(wantOut string, wantCode int, args ...string) {
	f.t.Helper()
	out, errs, code := f.cli(args...)
	if out != wantOut || code != wantCode {
		f.t.Errorf("%s: got %q, %q, exit code %d", strings.Join(args, " "), out, errs, code)
	}
}

func TestRunCommand(t *testing.T) {
	f := newFixture(t, "sh", "-c", "echo hello; exit 7")
	f.want("hello\n", 7, "run", "a")
	f.want("", 0, "list", "-q") // nothing is left
	f.want("hello\n", 7, "run", "--keep", "kept")
	f.want("kept\n", 0, "list", "-q")
	f.want("", 0, "delete", "kept")
}

// TestUnwritablePidFile: what nobody can know the pid of does not go on running.
func TestUnwritablePidFile(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	missing := filepath.Join(f.root, "missing/pid")
	refused := func(wantCode int, args ...string) {
		t.Helper()
		out, errs, code := f.cli(args...)
		if out != "" || code != wantCode || !strings.Contains(errs, missing) {
			t.Errorf("%s: got %q, %q, exit code %d", strings.Join(args, " "), out, errs, code)
		}
	}
	for _, args := range [][]string{{"create"}, {"run"}, {"run", "--detach"}, {"run", "--keep", "--detach"}} {
		refused(1, append(args, "--pid-file", missing, "c")...)
		f.want("", 0, "list", "-q")
	}
	f.want("", 0, "run", "--detach", "c")
	before, _, _ := f.cli("ps", "--format", "json", "c")
	for _, args := range [][]string{{"exec"}, {"exec", "--detach"}} {
		refused(255, append(args, "--pid-file", missing, "c", "sleep", "1000")...)
		f.want(before, 0, "ps", "--format", "json", "c")
	}
	f.want("", 0, "delete", "--force", "c")
}

func TestLifecycleCommands(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	pidFile := filepath.Join(f.root, "pid")
	f.want("", 0, "create", "--bundle", f.bundle, "--pid-file", pidFile, "c")
	t.Cleanup(func() { f.cli("delete", "--force", "c") })
	state := func() entry {
		t.Helper()
		out, errs, code := f.cli("state", "c")
		var e entry
		if code != 0 || json.Unmarshal([]byte(out), &e) != nil {
			t.Fatalf("%q %q %d", out, errs, code)
		}
		return e
	}
	e := state()
	pid, err := os.ReadFile(pidFile)
	if err != nil || string(pid) != strconv.Itoa(e.Pid) || e.Status != "created" || e.Bundle != f.bundle || e.Rootfs != filepath.Join(f.bundle, "rootfs") || e.Version != specs.Version {
		t.Errorf("%+v, pid file %q, %v", e, pid, err)
	}
	f.want("", 0, "start", "c")
	if s := state(); s.Status != "running" {
		t.Errorf("%+v", s)
	}
	f.want("", 1, "start", "c")
	f.want("", 1, "delete", "c")
	f.want("", 0, "pause", "c")
	if s := state(); s.Status != "paused" {
		t.Errorf("%+v", s)
	}
	f.want("", 0, "resume", "c")
	f.want("["+string(pid)+"]\n", 0, "ps", "--format", "json", "c")
	if out, _, code := f.cli("list"); code != 0 || !strings.Contains(out, "ID          PID         STATUS") || !strings.Contains(out, "running") {
		t.Errorf("list: %q", out)
	}
	f.want("", 0, "update", "--memory", "64m", "--pids-limit", "50", "c")
	out, _, code := f.cli("events", "--stats", "c")
	var stats struct {
		Type, ID string
		Data     struct {
			Memory struct{ Usage struct{ Limit uint64 } }
			Pids   struct{ Limit uint64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &stats); err != nil || code != 0 || stats.Type != "stats" || stats.ID != "c" || stats.Data.Memory.Usage.Limit != 64<<20 || stats.Data.Pids.Limit != 50 {
		t.Errorf("stats: %q, %v, %d", out, err, code)
	}
	f.want("", 0, "kill", "c", "KILL")
	for deadline := time.Now().Add(10 * time.Second); state().Status != "stopped"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not die")
		}
	}
	f.want("", 1, "kill", "c", "TERM")
	f.want("", 0, "delete", "c")
	f.want("", 1, "state", "c")
	f.want("", 1, "delete", "c")
	f.want("", 0, "delete", "--force", "c")
}

func TestExecCommand(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	f.want("", 0, "run", "-d", "c")
	t.Cleanup(func() { f.cli("delete", "--force", "c") })
	f.want("uid=1000 gid=10 groups=20,30\n", 0, "exec", "--user", "1000:10", "-g", "20", "-g", "30", "c", "id")
	f.want("A=b\n", 0, "exec", "-e", "A=b", "c", "sh", "-c", "env | busybox grep ^A=")
	f.want("/tmp\n", 3, "exec", "--cwd", "/tmp", "c", "sh", "-c", "pwd; exit 3")
	f.want("", 137, "exec", "c", "sh", "-c", "kill -9 $$")
	f.want("CapBnd:\t0000000020000423\nCapInh 0000000000000000\n", 0, "exec", "--cap", "CAP_CHOWN", "--cap", "CAP_DAC_OVERRIDE", "c",
		"sh", "-c", "busybox grep CapBnd /proc/self/status; busybox awk '/CapInh/{print \"CapInh\", $2}' /proc/self/status")
	for args, text := range map[string]string{
		"nope":               `exec failed: unable to start container process: exec: "nope": executable file not found in $PATH`,
		"--cwd=/nope c true": `exec failed: unable to start container process: chdir to cwd ("/nope") set in config.json failed: no such file or directory`,
	} {
		line := []string{"exec"}
		if !strings.Contains(args, " c ") {
			line = append(line, "c")
		}
		if _, errs, code := f.cli(append(line, strings.Fields(args)...)...); code != 255 || !strings.Contains(strings.ReplaceAll(errs, `\"`, `"`), text) {
			t.Errorf("%s: got %q %d", args, errs, code)
		}
	}
	process := filepath.Join(f.root, "process.json")
	f.must(os.WriteFile(process, []byte(`{"args":["echo","from file"],"cwd":"/","env":["PATH=/bin"]}`), 0o644))
	f.want("from file\n", 0, "exec", "--process", process, "c")
	pidFile := filepath.Join(f.root, "pid")
	f.want("", 0, "exec", "-d", "--pid-file", pidFile, "c", "sleep", "1000")
	if pid, err := os.ReadFile(pidFile); err != nil || len(pid) == 0 {
		t.Errorf("%q, %v", pid, err)
	}
}

func TestErrorsAndLog(t *testing.T) {
	f := newFixture(t, "nope")
	log := filepath.Join(f.root, "log.json")
	_, errs, code := f.cli("--log", log, "--log-format", "json", "run", "a")
	const want = `gantry-runtime run failed: unable to start container process: exec: "nope": executable file not found in $PATH`
	if code != 1 || strings.TrimSpace(errs) != want {
		t.Errorf("got %q %d", errs, code)
	}
	data, err := os.ReadFile(log)
	var line struct{ Level, Msg, Time string }
	if err != nil || json.Unmarshal(bytes.TrimSpace(data), &line) != nil || line.Level != "error" || line.Msg != want {
		t.Errorf("log %q, %v", data, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{
		{"frobnicate"}, {"run"}, {"run", "a", "b"}, {"--log-format", "xml", "list"}, {"run", "--bundle", "/no/such", "a"}, {"state", "a"},
		{"kill", "a", "SIGNOPE"}, {"list", "--format", "xml"}, {"run", "--nope", "a"}, {"exec", "a"},
		{"update", "--memory", "x", "a"}, {"events", "--interval", "0s", "a"}, {"run", "--preserve-fds", "300", "a"},
	} {
		if _, errs, code := f.cli(args...); code == 0 || errs == "" {
			t.Errorf("%v: got %q, exit code %d", args, errs, code)
		}
	}
}

func TestSpecAndFeatures(t *testing.T) {
	f := newFixture(t, "true")
	f.want("", 1, "spec") // there is one
	f.must(os.Remove(filepath.Join(f.bundle, "config.json")))
	f.want("", 0, "spec")
	data, err := os.ReadFile(filepath.Join(f.bundle, "config.json"))
	var s specs.Spec
	if err != nil || json.Unmarshal(data, &s) != nil || s.Process.Args[0] != "sh" || !s.Root.Readonly {
		t.Errorf("%s, %v", data, err)
	}
	out, _, code := f.cli("features")
	var features struct {
		OCIVersionMax string
		Linux         struct{ Capabilities, Namespaces []string }
	}
	if json.Unmarshal([]byte(out), &features) != nil || code != 0 || features.OCIVersionMax != specs.Version || len(features.Linux.Namespaces) != 8 || len(features.Linux.Capabilities) < 41 {
		t.Errorf("%q %d", out, code)
	}
	if out, _, code := f.cli("--version"); code != 0 || !strings.HasPrefix(out, "gantry-runtime version ") {
		t.Errorf("%q %d", out, code)
	}
	if out, _, code := f.cli("--help"); code != 0 || !strings.Contains(out, "resume") {
		t.Errorf("%q %d", out, code)
	}
}

// TestSignalsAreForwarded sends signals to a run in the foreground.
func TestSignalsAreForwarded(t *testing.T) {
	f := newFixture(t, "sh", "-c", "trap 'exit 21' TERM; echo ready; while :; do sleep 0.01; done")
	cmd := f.command("run", "a")
	out, err := cmd.StdoutPipe()
	f.must(err)
	f.must(cmd.Start())
	buf := make([]byte, 16)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}

	f.must(cmd.Process.Signal(unix.SIGTERM))
	err = cmd.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 21 {
		t.Errorf("got %v", err)
	}
	f.want("", 0, "list", "-q")
}

// TestKilledRuns kills the runtime at many moments of a create; delete --force
// then removes whatever is there.
func TestKilledRuns(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	for i := range 60 {
		cmd := f.command("create", "c")
		f.must(cmd.Start())
		time.Sleep(time.Duration(i) * 300 * time.Microsecond)
		_ = cmd.Process.Kill() // it may be done already
		_ = cmd.Wait()
		if _, errs, code := f.cli("delete", "--force", "c"); code != 0 {
			t.Fatalf("after %d × 0.3 ms: %q", i, errs)
		}
		if left := f.leftovers(); left != "" {
			t.Fatalf("after %d × 0.3 ms: left %s", i, left)
		}
	}
}

func (f *fixture) leftovers() string {
	entries, err := os.ReadDir(f.root)
	if err != nil || len(entries) > 0 {
		return fmt.Sprint(entries, err)
	}
	found, err := filepath.Glob("/sys/fs/cgroup/*" + f.spec.Linux.CgroupsPath)
	if err != nil || len(found) > 0 {
		return fmt.Sprint(found, err)
	}
	return ""
}

func TestParseUser(t *testing.T) {
	gid := func(n uint32) *uint32 { return &n }
	for in, want := range map[string]struct {
		uid uint32
		gid *uint32
		ok  bool
	}{
		"0": {0, nil, true}, "1000": {1000, nil, true}, "1000:10": {1000, gid(10), true}, "4294967294": {4294967294, nil, true},
		"": {}, "root": {}, "-1": {}, "4294967295": {}, "4294967296": {}, "1:": {}, ":1": {}, "1:2:3": {}, " 1": {}, "1 ": {}, "0x0": {}, "1:-1": {}, "+1": {},
	} {
		uid, g, err := parseUser(in)
		if (err == nil) != want.ok || want.ok && (uid != want.uid || (g == nil) != (want.gid == nil) || g != nil && *g != *want.gid) {
			t.Errorf("%q: got %d, %v, %v", in, uid, g, err)
		}
	}
}

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{"0", "1000:10", "root", "4294967295", "1:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		uid, gid, err := parseUser(s)
		if err != nil {
			return
		}
		text := strconv.FormatUint(uint64(uid), 10)
		if gid != nil {
			text += ":" + strconv.FormatUint(uint64(*gid), 10)
		}
		plain := func(s string) string {
			if s = strings.TrimLeft(s, "0"); s == "" {
				return "0"
			}
			return s
		}
		parts := strings.Split(s, ":")
		for i := range parts {
			parts[i] = plain(parts[i])
		}
		if strings.Join(parts, ":") != text || uid == ^uint32(0) {
			t.Errorf("%q became %s", s, text)
		}
	})
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "-1": -1, "1024": 1024, "64m": 64 << 20, "2G": 2 << 30, "1k": 1024} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "m", "9999999999g", "1.5g"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q: got %d", in, got)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{"9": 9, "KILL": 9, "SIGKILL": 9, "term": 15, "64": 64, "0": 0, "SIGWINCH": 28} {
		if got, err := parseSignal(in); err != nil || int(got) != want {
			t.Errorf("%s: got %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"65", "-1", "NOPE", "", "SIG"} {
		if _, err := parseSignal(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

// TestFlagsAfterArguments: as runc takes them, but for commands that run another's.
func TestFlagsAfterArguments(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	f.want("", 0, "run", "c", "-d")
	f.want("", 0, "update", "c", "--pids-limit", "77")
	f.want("77\n", 0, "exec", "c", "cat", "/sys/fs/cgroup/pids/pids.max")
	f.want("--pids-limit\n", 0, "exec", "c", "echo", "--pids-limit")
	f.want("", 1, "update", "c", "--", "--pids-limit")
	f.want("", 0, "delete", "c", "--force")
}

// TestHelp: the help of the program and of each command says what runc's does first.
func TestHelp(t *testing.T) {
	f := newFixture(t, "true")
	for _, args := range [][]string{{"--help"}, {"-h"}, {}, {"help"}, {"h"}} {
		if out, _, code := f.cli(args...); code != 0 || !strings.HasPrefix(out, "NAME:\n   gantry-runtime - Open Container Initiative runtime\n") {
			t.Errorf("%q: got %q, %d", args, out, code)
		}
	}
	for _, c := range commands() {
		for _, args := range [][]string{{c.name, "--help"}, {c.name, "-h"}, {"help", c.name}} {
			if out, _, code := f.cli(args...); code != 0 || !strings.HasPrefix(out, "NAME:\n   gantry-runtime "+c.name+" - ") {
				t.Errorf("%q: got %q, %d", args, out, code)
			}
		}
	}
	if out, _, _ := f.cli("exec", "-h"); !strings.Contains(out, "--env value, -e value ") || !strings.Contains(out, "--tty, -t ") {
		t.Errorf("got %q", out)
	}
	if _, errs, code := f.cli("foo", "-h"); code != 3 || !strings.Contains(errs, "No help topic for 'foo'") {
		t.Errorf("got %q, %d", errs, code)
	}
}

// TestPidFDSocket passes a pidfd of the container and of an exec on.
func TestPidFDSocket(t *testing.T) {
	f := newFixture(t, "sleep", "1000")
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	f.must(err)
	defer func() { f.must(l.Close()) }()
	receive := func() string {
		f.must(l.SetDeadline(time.Now().Add(30 * time.Second)))
		conn, err := l.AcceptUnix()
		f.must(err)
		defer func() { _ = conn.Close() }()
		text, rights := make([]byte, 32), make([]byte, 64)
		n, m, _, _, err := conn.ReadMsgUnix(text, rights)
		f.must(err)
		messages, err := unix.ParseSocketControlMessage(rights[:m])
		f.must(err)
		fds, err := unix.ParseUnixRights(&messages[0])
		f.must(err)
		defer func() { _ = unix.Close(fds[0]) }()
		f.must(unix.PidfdSendSignal(fds[0], unix.SIGKILL, nil, 0))
		return string(text[:n])
	}
	f.want("", 0, "run", "-d", "c")
	f.want("", 0, "exec", "-d", "--pidfd-socket", path, "c", "sleep", "1000")
	if got := receive(); got != "setns" {
		t.Errorf("exec: got %q", got)
	}
	f.want("", 0, "delete", "-f", "c")
	f.want("", 0, "create", "--pidfd-socket", path, "c")
	if got := receive(); got != "standard" {
		t.Errorf("create: got %q", got)
	}
	f.want("", 0, "delete", "-f", "c")
	f.want("", 1, "run", "-d", "--pidfd-socket", path+"x", "c")
	f.want("", 0, "list", "-q")
}

// TestForeignRoot: a root that was named must be there to be listed.
func TestForeignRoot(t *testing.T) {
	f := newFixture(t, "true")
	f.root = filepath.Join(f.root, "missing")
	f.want("", 1, "list")
}

// TestLineEnds: the output of a terminal that goes to no terminal has plain line ends.
func TestLineEnds(t *testing.T) {
	f := newFixture(t, "echo", "hello")
	f.spec.Process.Terminal = true
	f.write()
	f.want("hello\n", 0, "run", "c")
}
