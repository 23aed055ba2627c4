// Package plan turns a runtime specification into the list of things that a
// container's init has to do. It is pure: no file is opened, nothing is asked
// of the machine, so it is tested without privileges. What the specification
// demands and Gantry cannot give is refused here, before anything happens.
//
// The plan travels to init as JSON over a socket. It does not contain what only
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
	Exec    bool       `json:",omitempty"` // join a container instead of building one
	Wait    bool       `json:",omitempty"` // wait for start before the program runs
	Root    *Root      `json:",omitempty"`
	Process Process    `json:",omitempty"`
	Keyring string     `json:",omitempty"` // session keyring to join; empty: keep the caller's
	Hooks   HookPoints `json:",omitempty"`

	LoopbackUp  bool              `json:",omitempty"` // a new network namespace: bring lo up
	NewCgroupNS bool              `json:",omitempty"`
	NewTimeNS   bool              `json:",omitempty"`
	TimeOffsets []TimeOffset      `json:",omitempty"`
	Hostname    string            `json:",omitempty"`
	Domainname  string            `json:",omitempty"`
	Sysctl      map[string]string `json:",omitempty"`
	Personality *uint             `json:",omitempty"`
	UserNS      bool              `json:",omitempty"` // init is not root of the machine
	FDs         FDs
}

// FDs are the numbers under which init finds what it inherited; -1 or 0: none.
type FDs struct {
	FirstClosed int // from here on nothing reaches the program
	Listener    int `json:",omitempty"` // listening socket of Start
	MountNS     int `json:",omitempty"` // exec: the container's mount namespace
	CgroupNS    int `json:",omitempty"`
}

// HookPoints says at which points init must stop or run hooks itself.
type HookPoints struct {
	Runtime        bool   `json:",omitempty"` // createRuntime and prestart: run by the parent
	Create         []Hook `json:",omitempty"` // createContainer: run by init before pivot_root
	StartContainer []Hook `json:",omitempty"` // run by init inside the container before the program
	State          []byte `json:",omitempty"` // what these hooks read on stdin; the pid is filled in
}

// Hook is a program to run with the container's state on stdin.
type Hook struct {
	Path    string
	Args    []string `json:",omitempty"`
	Env     []string `json:",omitempty"`
	Timeout int      `json:",omitempty"` // seconds, 0: no limit
}

// TimeOffset shifts a clock of a new time namespace.
type TimeOffset struct {
	Clock    string // "monotonic" or "boottime"
	Secs     int64
	Nanosecs uint32
}

// Root describes the root filesystem and all that is mounted in it.
type Root struct {
	Path          string
	Mounts        []RootMount       `json:",omitempty"` // on Path itself, in order
	Propagation   uint64            `json:",omitempty"` // MS_*, of the whole tree before anything else
	RecProp       bool              `json:",omitempty"`
	ReadOnly      bool              `json:",omitempty"`
	NoPivot       bool              `json:",omitempty"`
	Targets       []Mount           `json:",omitempty"`
	Devices       []Device          `json:",omitempty"`
	Links         [][2]string       `json:",omitempty"` // path, what it points to
	Masked        []string          `json:",omitempty"`
	ReadOnlyPaths []string          `json:",omitempty"`
	MountLabel    string            `json:",omitempty"`
	CgroupDirs    map[string]string `json:",omitempty"` // for mounts of type cgroup: v1 controller → directory
	CgroupUnified string            `json:",omitempty"`
}

// RootMount is a mount on the root's path.
type RootMount struct {
	Type, Source string
	Options      mount.Options
}

// Mount is a mount inside the root.
type Mount struct {
	Target  string
	Type    string `json:",omitempty"`
	Source  string `json:",omitempty"`
	Options mount.Options
}

// Device is a device node to make.
type Device struct {
	Path         string
	Mode         uint32 // type and permissions as in mknod(2)
	Major, Minor uint32
	UID, GID     uint32 `json:",omitempty"`
}

// Process describes the program and what it may do.
type Process struct {
	Args   []string
	Env    []string `json:",omitempty"`
	Cwd    string
	UID    uint32   `json:",omitempty"`
	GID    uint32   `json:",omitempty"`
	Groups []uint32 `json:",omitempty"`
	User   *User    `json:",omitempty"` // resolved in the container; replaces the numbers above
	Umask  *uint32  `json:",omitempty"`

	Terminal      bool   `json:",omitempty"`
	Height, Width uint16 `json:",omitempty"`

	Caps            *capability.Sets `json:",omitempty"` // nil: keep all
	NoNewPrivs      bool             `json:",omitempty"`
	Rlimits         []process.Rlimit `json:",omitempty"`
	ExactLimits     bool             `json:",omitempty"` // fail rather than clamp
	OOMScoreAdj     *int             `json:",omitempty"`
	AppArmor        string           `json:",omitempty"`
	SELinux         string           `json:",omitempty"`
	IOPriority      *IOPriority      `json:",omitempty"`
	Scheduler       *Scheduler       `json:",omitempty"`
	CreateCwd       bool             `json:",omitempty"`
	SetGroupsDenied bool             `json:",omitempty"`
	Seccomp         bool             `json:",omitempty"` // a program follows the plan
}

// User is a user by name, as oci.NamedUser.
type User struct {
	User   string   `json:",omitempty"`
	Groups []string `json:",omitempty"`
}

// IOPriority as ioprio_set(2) takes it.
type IOPriority struct{ Class, Level int }

// Scheduler as sched_setattr(2) takes it.
type Scheduler struct {
	Policy, Nice, Priority    int32
	Flags                     uint64
	Runtime, Deadline, Period uint64
}
