// Package boot applies a plan.Init from inside the new namespaces until the
// container's program can be executed. It owns what happens there between the
// making of the namespaces and execve, and the protocol with the parent that
// goes with it. There are two ways:
//
//   - OnThread does all that can be done without being the process on a thread of
//     the parent's, and writes what is left (the views of procfs and cgroups, the
//     giving up of privileges, execve) as a list of system calls for a process
//     without a Go runtime, see package bare. It is the way of nearly all
//     containers.
//   - Main is a process of its own, for what a thread cannot do: join or live in a
//     user or time namespace, and run hooks inside; and for containers whose mount
//     namespace is not their own, which are rare.
//
// Invariants: it works on one locked thread; it never follows a path of the
// container without being confined to the container's root, and opens nothing
// there but directories before it has seen what it is; it writes to procfs
// only through a handle on the machine's own /proc that was opened and checked
// before the container's files came into sight; nothing that it opens survives
// execve.
package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/linux/repeat"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// Verb is the runtime's first argument that starts this package.
const Verb = "init"

// The frames between the parent (or whoever calls start) and init.
const (
	FramePlan     = 'P' // to init: an encoded plan.Init
	FrameSeccomp  = 'S' // to init, after the plan if it says so: a seccomp program
	FrameGo       = 'G' // to init: go on after FrameHooks
	FrameHooks    = 'H' // from init: the namespaces exist, run the createRuntime hooks
	FrameLimits   = 'L' // from init: set the limits that init itself could not live with; answered by FrameGo
	FrameConsole  = 'C' // from init: the terminal's master is attached
	FrameWarning  = 'W' // from init: text for the log
	FrameListener = 'N' // from init: the seccomp program is in force, the body is its listener's number there; answered by FrameGo
	FrameReady    = 'R' // from init: all checked, the program is about to be executed or start is awaited
	FrameError    = 'E' // from init: Failure as JSON; init exits
	FrameBorn     = 'B' // from a process that joined a PID namespace: the pid of its child, which is init
	FrameMount    = 'M' // from init: a SharedMount as JSON, which is about to be made; answered by FrameGo

	FrameErrno = repeat.Failed // from init: a system call failed, see DecodeErrno; init exits
)

// Failure is an error on its way to the parent.
type Failure struct {
	Kind    errs.Kind
	Message string
	Exec    bool       // the container's program itself, Program, is the reason
	Program string     `json:",omitempty"`
	User    bool       // the user or a group that was asked for is the reason
	Errno   unix.Errno `json:"-"` // if a system call of a script failed: it is in Message already
}

// programError says that the program cannot be executed.
type programError struct {
	program string
	err     error
}

func (e *programError) Error() string { return fmt.Sprintf("exec: %q: %v", e.program, e.err) }
func (e *programError) Unwrap() error { return e.err }

// userError says that there is no such user or group, or cannot be.
type userError struct{ err error }

func (e *userError) Error() string { return e.err.Error() }
func (e *userError) Unwrap() error { return e.err }

// LockMainThread pins the main goroutine to the main thread if this process is
// going to be a container's init. The runtime's main package calls it from its
// init function, as only that runs on the main thread for sure.
func LockMainThread() {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		runtime.LockOSThread()
	}
}

// initializer is the state of one container's coming up.
type initializer struct {
	sock    int // to the parent, as init knows it
	plan    plan.Init
	filter  *seccomp.Program
	proc    int // O_PATH on the machine's procfs
	root    mount.Root
	program string // where args[0] was found
	env     []string
	thread  *thread // nil in a process of its own
}

// Main runs init; its argument is the number of the socket. It returns only
// when something failed, and the parent has been told then.
func Main(args []string) int {
	debug.SetGCPercent(-1) // it lives for milliseconds
	sock := -1
	if len(args) == 1 {
		if n, err := strconv.Atoi(args[0]); err == nil {
			sock = n
		}
	}
	if sock < 3 {
		fmt.Fprintln(os.Stderr, "gantry-runtime init: it is started by the runtime only")
		return 1
	}
	b := &initializer{sock: sock, proc: -1}
	err := b.run()
	b.fail(err)
	return 1
}

func (b *initializer) run() error {
	if err := b.receive(); err != nil {
		return err
	}
	if err := process.Undumpable(); err != nil {
		return err
	}
	// What the creator itself inherited must not reach hooks either.
	if err := fd.CloseExecFrom(b.plan.FDs.FirstClosed); err != nil {
		return err
	}
	if err := b.openProc(); err != nil {
		return err
	}
	if b.plan.Unmount != nil {
		return b.unmount()
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	if err := b.joinKeyring(); err != nil {
		return err
	}
	unix.Umask(0) // the modes of what is made are exact
	var err error
	if b.plan.Exec {
		err = b.join()
	} else {
		err = b.build()
	}
	if err != nil {
		return err
	}
	if err := b.prepare(); err != nil {
		return err
	}
	limits := script{bare.New(b.sock)}
	if err := b.addLimits(limits); err != nil {
		return err
	}
	if err := limits.runHere(); err != nil {
		return err
	}
	if err := b.awaitStart(); err != nil {
		return err
	}
	final := script{bare.New(b.sock)}
	if err := b.addFinal(final); err != nil {
		return err
	}
	return final.runHere()
}

func (b *initializer) receive() error {
	f, err := fd.ReadFrame(b.sock)
	if errors.Is(err, io.EOF) {
		os.Exit(1) // the parent gave up; nobody is there to be told
	}
	if err != nil {
		return err
	}
	if f.Kind != FramePlan {
		return fmt.Errorf("receive plan: unexpected frame %q", f.Kind)
	}
	p, err := plan.Decode(f.Body)
	if err != nil {
		return err
	}
	b.plan = *p
	if !b.plan.Process.Seccomp {
		return nil
	}
	if f, err = fd.ReadFrame(b.sock); err != nil {
		return fmt.Errorf("receive seccomp program: %w", err)
	}
	if f.Kind != FrameSeccomp {
		return fmt.Errorf("receive seccomp program: unexpected frame %q", f.Kind)
	}
	b.filter = new(seccomp.Program)
	return b.filter.UnmarshalBinary(f.Body)
}

// openProc gets the handle through which all of procfs is used later on. It is
// the machine's: the container has not been able to touch it.
func (b *initializer) openProc() error {
	proc, err := mount.OpenProc()
	if err != nil {
		return err
	}
	b.proc = proc
	return nil
}

// procHow is how files of the machine's procfs are opened.
var procHow = unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}

// writeProc writes a file of the machine's procfs without following any link.
func (b *initializer) writeProc(name, value string) error {
	how := procHow
	file, err := unix.Openat2(b.proc, name, &how)
	if err != nil {
		return fmt.Errorf("open /proc/%s: %w", name, err)
	}
	defer fd.Close(file)
	if !mount.IsFilesystem(file, unix.PROC_SUPER_MAGIC) {
		return fmt.Errorf("open /proc/%s: it is not on a procfs", name)
	}
	if _, err := unix.Write(file, []byte(value)); err != nil {
		return fmt.Errorf("write %q to /proc/%s: %w", value, name, err)
	}
	return nil
}

// warn tells the parent something for its log. If that fails the parent is
// gone, which the next frame that matters will show.
func (b *initializer) warn(format string, args ...any) {
	if b.thread != nil {
		b.thread.warn(fmt.Sprintf(format, args...))
		return
	}
	_ = fd.WriteFrame(b.sock, fd.Frame{Kind: FrameWarning, Body: fmt.Appendf(nil, format, args...)})
}

func (b *initializer) fail(err error) {
	body, jerr := json.Marshal(FailureOf(err))
	if jerr != nil {
		body = []byte(`{}`)
	}
	// Without a parent there is nobody to tell, and the exit says the rest.
	_ = fd.WriteFrame(b.sock, fd.Frame{Kind: FrameError, Body: body})
}

// FailureOf describes an error of this package for the parent.
func FailureOf(err error) Failure {
	if f, ok := errors.AsType[failedCall](err); ok {
		return f.Failure
	}
	f := Failure{Kind: errs.KindOf(err), Message: err.Error()}
	if p, ok := errors.AsType[*programError](err); ok {
		f.Exec, f.Program, f.Message = true, p.program, p.err.Error()
	}
	_, f.User = errors.AsType[*userError](err)
	return f
}
