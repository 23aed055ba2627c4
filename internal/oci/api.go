package oci

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/gantry-run/gantry/internal/oci/plan"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Options configure a Runtime.
type Options struct {
	// Root holds one directory per container with its state; volatile
	// (a tmpfs such as /run/gantry/runtime).
	Root string
	// SystemdCgroup selects the systemd cgroup driver (runc's --systemd-cgroup).
	SystemdCgroup bool
	// Rootless says that cgroups which this user may not make are done without, as
	// long as no limit needs them (runc's --rootless). nil: if the user is not the
	// machine's root.
	Rootless *bool
	Log      *slog.Logger
	// OneShot is for a process that ends after one operation: it seals the
	// runtime's program by a read-only mount instead of copying it to memory, and
	// there is room for one container that it makes (see bare.Placed).
	OneShot bool
	// Resctrl is where the resctrl filesystem is mounted, for linux.intelRdt; empty:
	// it is looked for.
	Resctrl string
}

// RootfsMount is one mount(2) that the container's init performs in its own
// mount namespace before anything else, so that no host-visible mount exists
// that a crash could leak. Target is relative to nothing: it is always the
// spec's root path.
type RootfsMount struct {
	Type    string   // "overlay", "bind"
	Source  string   // mount(2) source
	Options []string // as containerd's mount.Mount: flags and data mixed
}

// IO are the standard streams of a process without a terminal. A nil file
// means /dev/null. The files stay the caller's to close.
type IO struct {
	Stdin, Stdout, Stderr *os.File
}

// CreateOptions describe one container to create.
type CreateOptions struct {
	Bundle string      // absolute directory
	Spec   *specs.Spec // nil: read Bundle/config.json
	// RootfsMounts are mounted on Spec.Root.Path inside the container's mount namespace.
	RootfsMounts []RootfsMount
	// Netns, if set, is the network namespace to join, whatever the spec says. If it
	// belongs to another user namespace than the runtime's, and the spec wants a new
	// one, that one is joined: its mappings must be those of the spec.
	Netns *os.File
	IO    IO
	// OwnIO says that the files of IO are pipes for this container alone: in a user
	// namespace they are given to its root, so that they can be opened again.
	OwnIO bool
	// ConsoleSocket receives the terminal's master (runc's --console-socket).
	// Empty and Spec.Process.Terminal set: Process.Console holds the master.
	ConsoleSocket string
	// KeepLineEnds keeps the terminal from translating newlines, see tty.KeepLineEnds.
	KeepLineEnds bool
	PreserveFDs  []*os.File // become fd 3, 4, … of the process
	// User, if set, replaces Spec.Process.User: it is resolved in the container.
	User         *NamedUser
	NoPivot      bool
	NoNewKeyring bool
	// Mtab makes /etc/mtab a link to /proc/mounts if nothing is there and /etc is a
	// directory of the root filesystem itself. Old programs read it.
	Mtab bool
	// KeepMounts asks for Process.Mounts.
	KeepMounts bool
	// SystemdCgroup is Options.SystemdCgroup for this container.
	SystemdCgroup bool
}

// NamedUser is a user as image configs and `docker run --user` write it. Init
// resolves it after pivot_root in the container's own /etc/passwd and /etc/group
// (bounded reads, safe opens), so that nobody has to look into the root file
// system from outside: primary group, supplementary groups and, unless the
// environment has it, HOME come from there.
type NamedUser struct {
	User   string   // "", "name", "uid", "name:group", "uid:gid"; "" is root
	Groups []string // additional groups by name or number (--group-add)
}

func (u *NamedUser) plan() *plan.User {
	if u == nil {
		return nil
	}
	return &plan.User{User: u.User, Groups: u.Groups}
}

// ExecOptions describe one additional process.
type ExecOptions struct {
	Process       *specs.Process
	User          *NamedUser // see CreateOptions.User
	IO            IO
	OwnIO         bool // see CreateOptions.OwnIO
	ConsoleSocket string
	KeepLineEnds  bool // see CreateOptions
	PreserveFDs   []*os.File
	// Cgroups are groups below the container's to be in, see cgroup.Group.Open; none:
	// the container's.
	Cgroups      map[string]string
	IgnorePaused bool
}

// Process is a started child. The caller owns PidFD and Console and must reap Pid.
type Process struct {
	Pid     int
	PidFD   *os.File
	Console *os.File // terminal master; nil without terminal
	// Mounts keeps the container's mount namespace, if CreateOptions.KeepMounts is
	// set; it may be nil nevertheless. Otherwise the namespace is taken down within
	// the exit of its last process, which takes milliseconds of waiting for RCU
	// before anybody learns of the exit; so it is taken down when Mounts is closed.
	Mounts *os.File
}

// Exported operations of Runtime and Container that the supervisor relies on:
//
//	New(Options) (*Runtime, error)
//	(*Runtime).Create(ctx, id, CreateOptions) (*Container, *Process, error)
//	    the container is set up, its program waits for Start
//	(*Runtime).Run(ctx, id, CreateOptions) (*Container, *Process, error)
//	    Create and Start fused, without the second rendezvous; the fast path
//	(*Runtime).Load(id) (*Container, error)      errs.NotFound if unknown
//	(*Runtime).List() ([]*Container, error)
//	(*Container).Start(ctx) error
//	(*Container).Exec(ctx, ExecOptions) (*Process, error)
//	(*Container).Signal(ctx, unix.Signal, all bool) error
//	(*Container).Pause(ctx) / Resume(ctx) error
//	(*Container).State() (specs.State, error)
//	(*Container).PidFD() (*os.File, error)       of init, to adopt it
//	(*Container).Update(ctx, *specs.LinuxResources) error
//	(*Container).Stats() (*cgroup.Stats, error)
//	(*Container).Pids() ([]int, error)
//	(*Container).OOMKilled() bool                (asked after exit, before Delete)
//	(*Container).Delete(ctx, force bool) error   idempotent; removes cgroups and state
//
// A program that is missing gives an *ExecError of kind errs.NotFound (127 in
// the CLI), one that cannot be executed an *ExecError of kind
// errs.Permission (126).

// ExecError says that the container's program itself could not be started.
type ExecError struct {
	Program string
	Err     error
	Tried   bool // execve itself failed, of a script for want of its interpreter for example
}

// Error reads as runc's does, since people and scripts match on it.
func (e *ExecError) Error() string {
	if e.Tried {
		return "exec " + e.Program + ": " + e.Err.Error()
	}
	return fmt.Sprintf("exec: %q: %v", e.Program, e.Err)
}

// Unwrap gives the cause.
func (e *ExecError) Unwrap() error { return e.Err }

// UserError says that a user or a group of a NamedUser is not there, or that its
// number is out of range.
type UserError struct{ Err error }

// Error is the reason alone.
func (e *UserError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UserError) Unwrap() error { return e.Err }

var _ = context.Background
