package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/supervisor/client"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
	"github.com/gantry-run/gantry/internal/testenv"
)

// The test binary plays gantry-runtime: the runtime executes a sealed copy of
// itself as a container's init.
func init() { boot.LockMainThread() }

// cgroups is the parent of the containers' cgroups: one for each run of the tests,
// since what deletes a container kills all that is in its cgroup.
var cgroups = "/" + testenv.Unique("supervisor")

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == boot.Verb {
		os.Exit(boot.Main(os.Args[2:]))
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // as Main does
		fmt.Fprintln(os.Stderr, "become subreaper:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := testenv.RemoveCgroups(cgroups); err != nil {
		fmt.Fprintln(os.Stderr, "remove test cgroups:", err)
		code = 1
	}
	os.Exit(code)
}

// fixture is a running server with a client.
type fixture struct {
	*client.Client
	srv  *Server
	root string // a root file system with busybox
	dir  string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	srv, err := New(Options{ExecRoot: dir, Listener: listener, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	f := &fixture{Client: &client.Client{Socket: l.Addr().String()}, srv: srv, root: busyboxRoot(t), dir: dir}
	t.Cleanup(func() {
		f.killAll(t)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // the kernel's side is cleaned after the exit events
			gone, err := f.Shutdown(context.Background())
			if gone || err != nil { // it may have gone by itself meanwhile
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("supervisor did not shut down")
			}
		}
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("supervisor goes on serving")
		}
	})
	return f
}

func (f *fixture) killAll(t *testing.T) {
	t.Helper()
	all, _, err := f.Watch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Exit == nil {
			_ = f.Signal(context.Background(), c.ID, int(unix.SIGKILL), true)
		}
	}
}

func busyboxRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"sh", "cat", "sleep", "true", "echo", "seq", "stty", "id", "head", "yes"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// start runs a shell script as container id.
func (f *fixture) start(t *testing.T, id, script string, change func(*wire.Start, *specs.Spec)) (int, error) {
	t.Helper()
	sp := &specs.Spec{
		Version: "1.3.0", Root: &specs.Root{Path: f.root},
		Process: &specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroups + "/" + id,
			Namespaces:  []specs.LinuxNamespace{{Type: "mount"}, {Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "network"}},
		},
	}
	req := wire.Start{Bundle: f.dir, Log: wire.Log{Path: filepath.Join(f.dir, id+".log")}}
	if change != nil {
		change(&req, sp)
	}
	sp.Process.Terminal = req.TTY
	data, err := json.Marshal(sp)
	if err != nil {
		t.Fatal(err)
	}
	req.Spec = data
	pid, parked, err := f.Start(t.Context(), id, req, nil)
	parked.Close()
	return pid, err
}

// exits gives a function that waits for the exit of a container or exec.
func (f *fixture) exits(t *testing.T) func(id, execID string) wire.Exit {
	t.Helper()
	_, next, err := f.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(id, execID string) wire.Exit {
		t.Helper()
		for {
			ev, err := next()
			if err != nil {
				t.Fatal(err)
			}
			if ev.ID == id && ev.ExecID == execID && !ev.StdinClosed {
				return ev.Exit
			}
		}
	}
}

func (f *fixture) logText(t *testing.T, id string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, id+".log"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		var e struct{ Log string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		text.WriteString(e.Log)
	}
	return text.String()
}

func TestExitCodeAndLogAreCompleteAtTheEvent(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	for i := range 10 {
		id := fmt.Sprint("run", i)
		if _, err := f.start(t, id, "seq 1 1000; echo err >&2; exit 7", nil); err != nil {
			t.Fatal(err)
		}
		if exit := wait(id, ""); exit.Code != 7 || exit.Unknown || exit.OOMKilled {
			t.Fatalf("exit %+v", exit)
		}
		if n := strings.Count(f.logText(t, id), "\n"); n != 1001 {
			t.Fatalf("log has %d lines at the exit event, want 1001", n)
		}
		if err := f.Forget(t.Context(), id, true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingProgramIsAProgramError(t *testing.T) {
	f := newFixture(t)
	_, err := f.start(t, "none", "", func(_ *wire.Start, s *specs.Spec) { s.Process.Args = []string{"nosuchprogram"} })
	var p *wire.ProgramError
	if !errors.As(err, &p) || !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), `exec: "nosuchprogram": executable file not found in $PATH`) {
		t.Fatalf("got %v (%s)", err, errs.KindOf(err))
	}
	_, err = f.start(t, "noexec", "", func(_ *wire.Start, s *specs.Spec) { s.Process.Args = []string{"/etc"} })
	if !errors.As(err, &p) || !errs.Is(err, errs.Permission) {
		t.Fatalf("got %v (%s)", err, errs.KindOf(err))
	}
}

func TestAttachBeforeStartSeesEverythingBothWays(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	conn, err := f.Attach(t.Context(), "cat", wire.Attach{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = f.start(t, "cat", "cat; echo done >&2", func(s *wire.Start, _ *specs.Spec) { s.OpenStdin, s.StdinOnce = true, true })
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("0123456789abcdef\x00\xff\n"), 100000)
	go func() {
		_, _ = conn.Write(payload)
		_ = conn.CloseWrite()
	}()
	out, errOut := demultiplex(t, conn)
	if !bytes.Equal(out, payload) || string(errOut) != "done\n" {
		t.Errorf("%d bytes came back of %d, stderr %q", len(out), len(payload), errOut)
	}
	if exit := wait("cat", ""); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
}

func demultiplex(t *testing.T, r io.Reader) (out, errOut []byte) {
	t.Helper()
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			return out, errOut
		}
		body := make([]byte, int(head[4])<<24|int(head[5])<<16|int(head[6])<<8|int(head[7]))
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		if head[0] == stderr {
			errOut = append(errOut, body...)
		} else {
			out = append(out, body...)
		}
	}
}

func TestTerminal(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	conn, err := f.Attach(t.Context(), "tty", wire.Attach{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = f.start(t, "tty", "read x; stty size; echo got $x", func(s *wire.Start, _ *specs.Spec) { s.TTY, s.OpenStdin = true, true })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Resize(t.Context(), "tty", "", 33, 77); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(all); !strings.Contains(got, "33 77\r\ngot hello\r\n") {
		t.Errorf("terminal gave %q", got)
	}
	wait("tty", "")
}

// TestTerminalsAreWaitedForByThePoller: a terminal on which nothing happens costs
// the supervisor no thread.
func TestTerminalsAreWaitedForByThePoller(t *testing.T) {
	f := newFixture(t)
	if _, err := f.start(t, "idle", "sleep 1000", func(s *wire.Start, _ *specs.Spec) { s.TTY, s.OpenStdin = true, true }); err != nil {
		t.Fatal(err)
	}
	c, err := f.srv.find("idle")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.running()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.io.stdin.SetReadDeadline(time.Time{}); err != nil {
		t.Errorf("terminal's master: %v", err)
	}
}

func TestExec(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "host", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		process, _ := json.Marshal(specs.Process{Args: []string{"/bin/sh", "-c", "cat; echo e >&2; exit 9"}, Cwd: "/", Env: []string{"PATH=/bin"}})
		execID := fmt.Sprint("x", i)
		_, conn, err := f.Exec(t.Context(), "host", execID, wire.Exec{Process: process, OpenStdin: true, Attached: true}, wire.Attach{Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("in"))
		_ = conn.CloseWrite()
		out, errOut := demultiplex(t, conn)
		conn.Close()
		if string(out) != "in" || string(errOut) != "e\n" {
			t.Errorf("exec gave %q, %q", out, errOut)
		}
		if exit := wait("host", execID); exit.Code != 9 {
			t.Errorf("exec exit %+v", exit)
		}
	}
	if err := f.Signal(t.Context(), "host", int(unix.SIGKILL), false); err != nil {
		t.Fatal(err)
	}
	if exit := wait("host", ""); exit.Code != 137 {
		t.Errorf("exit %+v", exit)
	}
}

// An exit that nobody has collected survives the supervisor.
func TestExitSurvivesTheSupervisor(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "past", "exit 3", nil); err != nil {
		t.Fatal(err)
	}
	wait("past", "")
	deadline := time.Now().Add(5 * time.Second)
	for { // the kernel's side is cleaned after the event
		if _, err := os.Stat(filepath.Join(f.dir, "runtime", "past")); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the runtime's state was not removed")
		}
		time.Sleep(time.Millisecond)
	}
	other, err := New(Options{ExecRoot: f.dir, Listener: f.srv.listener, Log: f.srv.log})
	if err != nil {
		t.Fatal(err)
	}
	c, ok := other.containers["past"]
	if !ok {
		t.Fatal("the new supervisor does not know the exit")
	}
	if snap, _ := c.snapshot(); snap.Exit == nil || snap.Exit.Code != 3 {
		t.Errorf("snapshot %+v", snap)
	}
}

// A supervisor that takes over a living container learns its real exit code,
// though it is not the parent (Linux 6.15 and later).
func TestAdoptedContainerKeepsItsExitCode(t *testing.T) {
	f := newFixture(t)
	pid, err := f.start(t, "adopt", "sleep 1000", nil)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	wait := f.exits(t)
	if err := f.Signal(t.Context(), "adopt", int(unix.SIGKILL), false); err != nil {
		t.Fatal(err)
	}
	wait("adopt", "")
	st := strangerStatus(fd)
	if !st.known {
		t.Skip("this kernel has no PIDFD_INFO_EXIT")
	}
	if st.code != 137 || st.signal != unix.SIGKILL {
		t.Errorf("status %+v", st)
	}
}

func TestStartTwiceIsAConflict(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "twice", "sleep 1000", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.start(t, "twice", "true", nil); !errs.Is(err, errs.Conflict) {
		t.Errorf("second start: %v", err)
	}
	if err := f.Forget(t.Context(), "twice", true); !errs.Is(err, errs.Conflict) {
		t.Errorf("forget while running: %v", err)
	}
	if err := f.Signal(t.Context(), "twice", 9, true); err != nil {
		t.Fatal(err)
	}
	wait("twice", "")
}

func TestDetachedClientDoesNotHoldTheContainer(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	conn, err := f.Attach(t.Context(), "yes", wire.Attach{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.start(t, "yes", "yes | head -n 200000", func(s *wire.Start, _ *specs.Spec) { s.Log = wire.Log{} })
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 100))
	conn.Close() // with the output in full flow
	if exit := wait("yes", ""); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
}

// TestPauseThatFails pauses a container with a process that cannot be frozen.
func TestPauseThatFails(t *testing.T) {
	f, dir := newFixture(t), t.TempDir()
	hangs := testenv.HangingDir(t, dir)
	_, err := f.start(t, "box", "cat /tmp/file & while :; do sleep 1; done", func(_ *wire.Start, s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "bind", Source: dir, Options: []string{"bind"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	<-hangs
	if err := f.Pause(t.Context(), "box"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	all, _, err := f.Watch(t.Context())
	if err != nil || len(all) != 1 || all[0].Paused {
		t.Errorf("%+v, %v", all, err)
	}
	p := probeOf(t, "echo runs")
	p.MaxOutput = 100
	if res, err := f.prober(t, p).Probe(t.Context()); err != nil || res.Output != "runs\n" {
		t.Errorf("%+v, %v", res, err)
	}
}
