package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/resctrl"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// The files in a container's directory.
const (
	intentFile  = "cgroup.json" // the cgroup.Group, before anything is made
	stateFile   = "state.json"  // record
	seccompFile = "seccomp.bpf" // the compiled filter, for exec
	startSocket = "start.sock"  // init listens here; there until start has succeeded
)

// record is what is stored of a container. It is written when the pid of init
// is known, before init does anything; until then intentFile speaks for it.
type record struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`       // 0: init was never born
	StartTime   uint64            `json:"startTime"` // of the pid, in clock ticks since boot
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	OwnerUID    int               `json:"owner"`
	Creating    bool              `json:"creating,omitempty"` // init may not have entered its root yet
	Cgroup      cgroup.Group      `json:"cgroup"`

	Shared       *sharedMounts      `json:"sharedMounts,omitempty"` // nil: the mount namespace is its own
	Resctrl      *resctrl.Group     `json:"resctrl,omitempty"`
	LatePids     *int64             `json:"latePids,omitempty"` // a limit that is set last, see tightPids
	UserNS       bool               `json:"userNS,omitempty"`
	TimeNS       bool               `json:"timeNS,omitempty"`
	SharedPIDs   bool               `json:"sharedPIDs,omitempty"` // the PID namespace does not end with init
	Keyring      string             `json:"keyring,omitempty"`
	ExecCPUs     *specs.CPUAffinity `json:"execCPUs,omitempty"` // of processes that have none of their own
	MemoryPolicy *plan.MemoryPolicy `json:"memoryPolicy,omitempty"`
	Personality  *uint              `json:"personality,omitempty"`
	Seccomp      bool               `json:"seccomp,omitempty"`
	Listener     *seccompListener   `json:"seccompListener,omitempty"` // who answers for SCMP_ACT_NOTIFY
	Defaults     execDefaults       `json:"defaults"`
	Dump         *dumpPlan          `json:"dump,omitempty"` // nil in records of earlier versions
	Poststart    []plan.Hook        `json:"poststart,omitempty"`
	Poststop     []plan.Hook        `json:"poststop,omitempty"`
}

// execDefaults are what an exec takes from the container where its own
// description says nothing.
type execDefaults struct {
	Caps       capability.Sets `json:"caps"`
	AppArmor   string          `json:"apparmor,omitempty"`
	SELinux    string          `json:"selinux,omitempty"`
	NoNewPrivs bool            `json:"noNewPrivs,omitempty"`
}

// Container is one container of a Runtime. Its methods are safe for concurrent use.
type Container struct {
	id  string
	rt  *Runtime
	dir string

	mu    sync.Mutex // guards state.Pid, StartTime, Creating and Shared, which Create fills in, and LatePids
	state record
}

// ID is the container's id.
func (c *Container) ID() string { return c.id }

// Pid is the host pid of the container's init; 0 if it has never been born.
func (c *Container) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Pid
}

// Created is when the container was created.
func (c *Container) Created() time.Time { return c.state.Created }

// Rootfs is the path of the root filesystem on the host.
func (c *Container) Rootfs() string { return c.state.Rootfs }

// OwnerUID is the user who created the container.
func (c *Container) OwnerUID() int { return c.state.OwnerUID }

func (c *Container) file(name string) string { return filepath.Join(c.dir, name) }

func readState(dir string) (record, error) {
	data, err := fd.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return record{}, fmt.Errorf("read container state: %w", err)
	}
	return decodeState(data)
}

func decodeState(data []byte) (record, error) {
	var s record
	if err := json.Unmarshal(data, &s); err != nil {
		return record{}, fmt.Errorf("decode container state: %w", err)
	}
	if s.ID == "" || s.Pid < 0 {
		return record{}, errors.New("decode container state: it is incomplete")
	}
	return s, nil
}

func (c *Container) writeState() error {
	c.mu.Lock()
	data, err := c.state.encode()
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode container state: %w", err)
	}
	return atomicfile.Write(c.file(stateFile), data, 0o600, atomicfile.Volatile)
}

// process gives pid and start time of init.
func (c *Container) process() (int, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Pid, c.state.StartTime
}

// alive tells whether init exists and is not a zombie.
func (c *Container) alive() (bool, error) {
	pid, start := c.process()
	if pid == 0 {
		return false, nil
	}
	st, err := ns.Stat(pid)
	if ns.Gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.StartTime == start && st.State != 'Z' && st.State != 'X', nil
}

// Statuses beyond the specification's.
const statusPaused specs.ContainerState = "paused"

// Status is creating, created, running, paused or stopped. Until a container has its
// own root nobody may join it: what they would find there is the machine's.
func (c *Container) Status() (specs.ContainerState, error) {
	alive, err := c.alive()
	if err != nil {
		return "", fmt.Errorf("find state of container %q: %w", c.id, err)
	}
	if !alive {
		return specs.StateStopped, nil
	}
	frozen, err := c.state.Cgroup.Frozen()
	if err != nil {
		return "", fmt.Errorf("find state of container %q: %w", c.id, err)
	}
	if frozen {
		return statusPaused, nil
	}
	c.mu.Lock()
	creating := c.state.Creating
	c.mu.Unlock()
	if creating {
		return specs.StateCreating, nil
	}
	if _, err := os.Lstat(c.file(startSocket)); err == nil {
		return specs.StateCreated, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find state of container %q: %w", c.id, err)
	}
	return specs.StateRunning, nil
}

// State gives the container's state as the runtime specification defines it.
// The pid is 0 when the container is stopped.
func (c *Container) State() (specs.State, error) {
	status, err := c.Status()
	if err != nil {
		return specs.State{}, err
	}
	s := c.specState(status)
	if status == specs.StateStopped {
		s.Pid = 0
	}
	return s, nil
}

func (c *Container) specState(status specs.ContainerState) specs.State {
	return specs.State{
		Version: c.state.OCIVersion, ID: c.id, Status: status, Pid: c.Pid(),
		Bundle: c.state.Bundle, Annotations: c.state.Annotations,
	}
}

// PidFD opens the container's init, which may have ended already if nobody has
// reaped it yet; unix.ESRCH if it is gone.
func (c *Container) PidFD() (*os.File, error) {
	pidfd, err := ns.Open(c.process())
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(pidfd), "pidfd"), nil
}

// requireStatus refuses a verb in any other status.
func (c *Container) requireStatus(verb string, allowed ...specs.ContainerState) error {
	status, err := c.Status()
	if err != nil {
		return err
	}
	for _, s := range allowed {
		if s == status {
			return nil
		}
	}
	return errs.New(errs.Conflict, "cannot %s a container that is %s", verb, status)
}

// Bundle is the container's bundle directory.
func (c *Container) Bundle() string { return c.state.Bundle }
