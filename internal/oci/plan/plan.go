// Package plan turns a runtime specification into the list of things that a
// container's init has to do. It is pure: no file is opened, nothing is asked
// of the machine, so it is tested without privileges. What the specification
// demands and Gantry cannot give is refused here, before anything happens.
//
// The plan travels to init over a socket in an encoding of its own. It does not contain what only
// the parent does: cgroups, namespaces' clone flags, hooks on the host.
package plan

import (
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// Init is everything that a container's init, or one more process (Exec), needs
// to know.
type Init struct {
	ID      string
	Exec    bool // join a container instead of building one
	Root    *Root
	Process Process
	Keyring string // session keyring to join; empty: keep the caller's
	Hooks   HookPoints

	LoopbackUp   bool // a new network namespace: bring lo up
	NewCgroupNS  bool
	NewTimeNS    bool
	TimeOffsets  []TimeOffset
	Hostname     string
	Domainname   string
	Sysctl       map[string]string
	Personality  *uint
	MemoryPolicy *MemoryPolicy
	UserNS       bool // init is not root of the machine
	WaitLimits   bool // stop before the program runs until the parent has set its limits
	FDs          FDs

	// RootFD is, with Exec, the root directory of a container whose mount namespace
	// is not its own; 0: the namespace's.
	RootFD int
	// Unmount is, if set, all that there is to do: the mount to take out of the
	// mount namespace FDs.MountNS.
	Unmount *mount.Identity
}

// FDs are the numbers under which init finds what it inherited; -1 or 0: none.
type FDs struct {
	FirstClosed int // from here on nothing reaches the program
	Listener    int // listening socket of Start
	MountNS     int // the mount namespace to join: with Exec the container's, else that of others
	CgroupNS    int
}

// HookPoints says at which points init must stop or run hooks itself.
type HookPoints struct {
	Runtime        bool   // createRuntime and prestart: run by the parent
	Create         []Hook // createContainer: run by init before pivot_root
	StartContainer []Hook // run by init inside the container before the program
	State          []byte // what these hooks read on stdin; the pid is filled in
}

// Hook is a program to run with the container's state on stdin.
type Hook struct {
	Path    string
	Args    []string
	Env     []string
	Timeout int // seconds, 0: no limit
}

// TimeOffset shifts a clock of a new time namespace.
type TimeOffset struct {
	Clock    string // "monotonic" or "boottime"
	Secs     int64
	Nanosecs uint32
}

// Root describes the root filesystem and all that is mounted in it.
//
// In a user namespace init may be unable to reach the host's directories. Then
// the parent makes the mounts that come from there and hands them over: FD and
// Mount.FD are their descriptors in init, 0 if init is to make the mount itself.
type Root struct {
	FD            int
	PlaceFD       int // with FD and Shared: the directory at Path
	Path          string
	Mounts        []RootMount // on Path itself, in order
	Propagation   uint64      // MS_*, of the whole tree before anything else
	RecProp       bool
	Slave         bool // that of Path too: what the host mounts below it appears in the container
	ReadOnly      bool
	NoPivot       bool
	Shared        bool // the mount namespace is not the container's own: see boot.openSharedRoot
	Targets       []Mount
	Devices       []Device
	Links         [][2]string // path, what it points to
	Mtab          bool        // see oci.CreateOptions
	Masked        []string
	ReadOnlyPaths []string
	MountLabel    string
	CgroupDirs    map[string]string // for mounts of type cgroup: v1 controller → directory
	CgroupUnified string
}

// RootMount is a mount on the root's path.
type RootMount struct {
	Type, Source string
	Options      mount.Options
}

// Mount is a mount inside the root.
type Mount struct {
	FD      int // see Root
	Target  string
	Type    string
	Source  string
	Options mount.Options
}

// Device is a device node to make.
type Device struct {
	Path         string
	Mode         uint32 // type and permissions as in mknod(2)
	Major, Minor uint32
	UID, GID     uint32
}

// Process describes the program and what it may do.
type Process struct {
	Args   []string
	Env    []string
	Cwd    string
	UID    uint32
	GID    uint32
	Groups []uint32
	User   *User // resolved in the container; replaces the numbers above
	Umask  *uint32

	Terminal      bool
	KeepLineEnds  bool // of the terminal, see tty.KeepLineEnds
	Height, Width uint16

	Caps        *capability.Sets // nil: keep all
	NoNewPrivs  bool
	Rlimits     []process.Rlimit
	ExactLimits bool // fail rather than clamp
	OOMScoreAdj *int
	AppArmor    string
	SELinux     string
	IOPriority  *IOPriority
	Scheduler   *Scheduler
	CPUs        Set // to run on; nil: as it comes
	CreateCwd   bool
	Seccomp     bool // a program follows the plan
}

// User is a user by name, as oci.NamedUser.
type User struct {
	User   string
	Groups []string
}

// IOPriority as ioprio_set(2) takes it.
type IOPriority struct{ Class, Level int }

// Scheduler as sched_setattr(2) takes it.
type Scheduler struct {
	Policy, Nice, Priority    int32
	Flags                     uint64
	Runtime, Deadline, Period uint64
}
