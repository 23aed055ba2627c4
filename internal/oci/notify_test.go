package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/testenv"
)

// agent answers for the system calls of containers: mkdir fails with an error
// that the kernel would never give, everything else goes on.
type agent struct {
	path   string
	sock   int
	finish func()

	mu     sync.Mutex
	states []specs.ContainerProcessState // of one process each, in the order of their coming
	calls  map[int32]int
}

// The structures of linux/seccomp.h.
type (
	seccompData struct {
		nr, arch int32
		ip       uint64
		args     [6]uint64
	}
	seccompNotif struct {
		id         uint64
		pid, flags uint32
		data       seccompData
	}
	seccompAnswer struct {
		id           uint64
		value        int64
		error, flags int32
	}
)

const (
	seccompReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	seccompSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	seccompGoOn    = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	sysMkdir       = 83         // of amd64; others have mkdirat only
)

// newAgent listens for the given number of processes and serves each until it has
// ended.
func newAgent(t *testing.T, processes int) *agent {
	t.Helper()
	// The path is longer than a socket's address.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a := &agent{path: filepath.Join(dir, startSocket), calls: map[int32]int{}}
	var err error
	if a.sock, err = listen(dir); err != nil {
		t.Fatal(err)
	}
	serve := async(func() (_ struct{}, err error) {
		var running []func() (struct{}, error)
		for range processes {
			conn, _, aerr := unix.Accept4(a.sock, unix.SOCK_CLOEXEC)
			if aerr != nil {
				return struct{}{}, aerr
			}
			running = append(running, async(func() (struct{}, error) { return struct{}{}, a.serveOne(conn) }))
		}
		for _, end := range running {
			_, e := end()
			err = errors.Join(err, e)
		}
		return struct{}{}, err
	})
	// finish waits for the end of all processes.
	a.finish = func() {
		if _, err := serve(); err != nil {
			t.Errorf("agent: %v", err)
		}
		fd.Close(a.sock)
	}
	return a
}

func (a *agent) serveOne(conn int) error {
	defer fd.Close(conn)
	buf, oob := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d control messages: %w", len(messages), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return fmt.Errorf("%d files: %w", len(files), err)
	}
	defer fd.Close(files[0])
	if more, err := unix.Read(conn, buf[n:]); err != nil || more != 0 {
		return fmt.Errorf("%d more bytes on the connection: %w", more, err)
	}
	var state specs.ContainerProcessState
	if err := json.Unmarshal(buf[:n], &state); err != nil {
		return err
	}
	a.mu.Lock()
	a.states = append(a.states, state)
	a.mu.Unlock()
	return a.answer(files[0])
}

func (a *agent) answer(listener int) error {
	for {
		events := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(events, -1); err != nil && err != unix.EINTR {
			return err
		}
		if events[0].Revents&unix.POLLIN == 0 {
			if events[0].Revents&unix.POLLHUP != 0 {
				return nil // nobody is left
			}
			continue
		}
		var call seccompNotif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), seccompReceive, uintptr(unsafe.Pointer(&call))); errno != 0 {
			if errno == unix.ENOENT {
				continue // the caller has been killed
			}
			return errno
		}
		a.mu.Lock()
		a.calls[call.data.nr]++
		a.mu.Unlock()
		reply := seccompAnswer{id: call.id, flags: seccompGoOn}
		if call.data.nr == sysMkdir || call.data.nr == unix.SYS_MKDIRAT {
			reply.flags, reply.error = 0, -int32(unix.ENOMEDIUM)
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), seccompSend, uintptr(unsafe.Pointer(&reply))); errno != 0 && errno != unix.ENOENT {
			return errno
		}
	}
}

// notifying is a seccomp profile that hands calls to an agent.
func notifying(a *agent, calls ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv},
		ListenerPath: a.path, ListenerMetadata: "for the agent",
		Syscalls: []specs.LinuxSyscall{{Names: calls, Action: specs.ActNotify}},
	}
}

// refused is what a shell says whose mkdir the agent has answered.
const refused = "mkdir: can't create directory '/x': No medium found\n"

func (a *agent) requireState(t *testing.T, n int, c *Container, pid int, status specs.ContainerState) {
	t.Helper()
	if len(a.states) <= n {
		t.Errorf("the agent was told of %d processes", len(a.states))
		return
	}
	got := a.states[n]
	if got.Version != specs.Version || strings.Join(got.Fds, " ") != specs.SeccompFdName || got.Pid != pid || got.Metadata != "for the agent" ||
		got.State.ID != c.ID() || got.State.Status != status || got.State.Pid != c.Pid() || got.State.Bundle != c.Bundle() {
		t.Errorf("process %d: got %+v", n, got)
	}
}

// TestSeccompNotify hands calls of containers to an agent, those among them that
// come between the loading of the program and its execution.
func TestSeccompNotify(t *testing.T) {
	setUp := []string{"mkdir", "mkdirat", "execve", "capset", "read", "close", "sendmsg", "exit_group"}
	for name, edit := range map[string]func(*specs.Spec){
		"on a thread":                func(*specs.Spec) {},
		"no new privileges":          func(s *specs.Spec) { s.Process.NoNewPrivileges = true },
		"in a process":               withHook,
		"no PID namespace":           func(s *specs.Spec) { s.Linux.Namespaces = without(s, specs.PIDNamespace) },
		"process, no new privileges": func(s *specs.Spec) { withHook(s); s.Process.NoNewPrivileges = true },
	} {
		t.Run(name, func(t *testing.T) {
			a, r, s := newAgent(t, 1), newRuntime(t), newStreams(t, "")
			spec := newSpec("sh", "-c", "mkdir /x; echo on")
			edit(spec)
			spec.Linux.Seccomp = notifying(a, setUp...)
			c, p, err := r.Run(t.Context(), testenv.Unique("n"), CreateOptions{Bundle: newBundle(t), Spec: spec, IO: s.io})
			s.handed()
			if err != nil {
				t.Fatal(err)
			}
			pid := p.Pid
			wait(t, p)
			s.done()
			a.finish()
			if s.out.String() != "on\n" || s.err.String() != refused {
				t.Errorf("got %q %q", s.out.String(), s.err.String())
			}
			a.requireState(t, 0, c, pid, specs.StateCreating)
			if a.calls[unix.SYS_EXECVE] == 0 || a.calls[unix.SYS_READ] == 0 || (a.calls[unix.SYS_CAPSET] == 0) != spec.Process.NoNewPrivileges {
				t.Errorf("the agent was asked for %v", a.calls)
			}
			if err := c.Delete(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
}

// withHook makes init a process of its own.
func withHook(s *specs.Spec) {
	s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/true"}}}
}

// TestSeccompNotifyStartAndExec does it for a container that another process
// starts, and for one more process in it.
func TestSeccompNotifyStartAndExec(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){"on a thread": func(*specs.Spec) {}, "in a process": withHook} {
		t.Run(name, func(t *testing.T) {
			a, r := newAgent(t, 2), newRuntime(t)
			spec := newSpec("sleep", "1000")
			edit(spec)
			spec.Linux.Seccomp = notifying(a, "mkdir", "mkdirat", "execve")
			created, p, err := r.Create(t.Context(), testenv.Unique("n"), CreateOptions{Bundle: newBundle(t), Spec: spec})
			if err != nil {
				t.Fatal(err)
			}
			c, err := r.Load(created.ID())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := newStreams(t, "")
			e, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("sh", "-c", "mkdir /x; exit 3"), IO: s.io})
			s.handed()
			if err != nil {
				t.Fatal(err)
			}
			pid := e.Pid
			code := wait(t, e)
			s.done()
			if code != 3 || s.err.String() != refused {
				t.Errorf("exec: got %d %q", code, s.err.String())
			}
			if err := c.Delete(t.Context(), true); err != nil {
				t.Error(err)
			}
			wait(t, p)
			a.finish()
			a.requireState(t, 0, c, p.Pid, specs.StateCreated)
			a.requireState(t, 1, c, pid, specs.StateRunning)
		})
	}
}

func TestSeccompNotifyErrors(t *testing.T) {
	r := newRuntime(t)
	try := func(edit func(*specs.LinuxSeccomp)) error {
		spec := newSpec("true")
		spec.Linux.Seccomp = notifying(&agent{path: filepath.Join(t.TempDir(), "nobody")}, "mkdir")
		edit(spec.Linux.Seccomp)
		_, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
		return err
	}
	err := try(func(*specs.LinuxSeccomp) {})
	if err == nil || !strings.Contains(err.Error(), "send seccomp listener: connect to /") {
		t.Errorf("nobody listens: got %v", err)
	}
	err = try(func(s *specs.LinuxSeccomp) { s.ListenerPath = "" })
	if err == nil || err.Error() != "seccomp: SCMP_ACT_NOTIFY needs a listenerPath" || !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("no path: got %v", err)
	}
	err = try(func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = []string{"write"} })
	if err == nil || err.Error() != "SCMP_ACT_NOTIFY cannot be used for the write syscall" {
		t.Errorf("write: got %v", err)
	}
	// Without such an action the path means nothing.
	if err = try(func(s *specs.LinuxSeccomp) { s.Syscalls = nil }); err != nil {
		t.Errorf("nothing to notify: got %v", err)
	}
}
