package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Signal sends a signal to the container's init, or to all its processes: SIGKILL
// without a PID namespace of the container's own too, where they do not end with init.
// A container that has ended is errs.Conflict; with all that is no error, since
// the aim is reached.
func (c *Container) Signal(ctx context.Context, sig unix.Signal, all bool) error {
	if all && !c.state.Cgroup.Empty() {
		if err := c.state.Cgroup.SignalAll(ctx, sig); err != nil {
			return fmt.Errorf("signal container %q: %w", c.id, err)
		}
		return nil
	}
	if sig == unix.SIGKILL && c.state.SharedPIDs && !c.state.Cgroup.Empty() {
		if pids, err := c.Pids(); err == nil && len(pids) > 0 {
			return c.Signal(ctx, sig, true) // nothing but the cgroup tells who belongs to it
		}
	}
	notRunning := errs.New(errs.Conflict, "container not running")
	// A zombie takes signals, to no effect.
	if alive, err := c.alive(); err != nil || !alive {
		if err != nil {
			return fmt.Errorf("signal container %q: %w", c.id, err)
		}
		return notRunning
	}
	pid, start := c.process()
	pidfd, err := ns.Open(pid, start)
	if errors.Is(err, unix.ESRCH) {
		return notRunning
	}
	if err != nil {
		return fmt.Errorf("signal container %q: %w", c.id, err)
	}
	defer fd.Close(pidfd)
	if slices.Contains(ending, sig) {
		// Init waits for its start with nothing but the kernel's treatment of signals, by
		// which those to the first process of a namespace are lost. The program's own will
		// be in force once it has started.
		if status, err := c.Status(); err == nil && status == specs.StateCreated {
			sig = unix.SIGKILL
		}
	}
	err = unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return notRunning
	}
	if err != nil {
		return fmt.Errorf("signal container %q: %w", c.id, err)
	}
	if sig == unix.SIGKILL {
		c.thawForDeath(ctx)
	}
	return nil
}

// ending are signals by which a process is told to end.
var ending = []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT}

// thawForDeath lets a frozen init die: a v1 freezer holds back even SIGKILL.
func (c *Container) thawForDeath(ctx context.Context) {
	if frozen, err := c.state.Cgroup.Frozen(); err != nil || !frozen {
		return
	}
	if err := c.state.Cgroup.Thaw(ctx); err != nil {
		c.rt.log.Warn("thaw killed container", "container", c.id, "error", err)
	}
}

// Pids lists the host pids of all processes of the container; without a cgroup,
// see Options.Rootless, only that of its init.
func (c *Container) Pids() ([]int, error) {
	if !c.state.Cgroup.Empty() {
		return c.state.Cgroup.Pids()
	}
	if alive, err := c.alive(); err != nil || !alive {
		return nil, err
	}
	return []int{c.Pid()}, nil
}

// OOMKilled tells whether the kernel killed a process of the container for want
// of memory. It can be asked until Delete.
func (c *Container) OOMKilled() bool {
	n, err := c.OOMKills()
	return err == nil && n > 0
}

// OOMWatch is a watch for kills for want of memory; nil is one, too.
type OOMWatch = cgroup.OOMWatch

// WatchOOM watches for such a kill where the group is systemd's, who removes it, and
// what it has counted, with its last process.
func (c *Container) WatchOOM() (*OOMWatch, error) { return c.state.Cgroup.WatchOOM() }

// OOMKills is how many processes of the container the kernel killed for want of memory.
func (c *Container) OOMKills() (uint64, error) { return c.state.Cgroup.OOMKills() }

// Pause freezes all processes of a running container. After an error, such as that
// of a process in uninterruptible sleep (errs.Unavailable), they go on.
func (c *Container) Pause(ctx context.Context) error {
	if err := c.requireStatus("pause", specs.StateRunning, specs.StateCreated); err != nil {
		return err
	}
	return c.state.Cgroup.Freeze(ctx)
}

// Resume thaws a paused container, or one that a pause that was cut short has left
// about to be.
func (c *Container) Resume(ctx context.Context) error {
	if half, err := c.HalfPaused(); err != nil || !half {
		if err := errors.Join(err, c.requireStatus("resume", statusPaused)); err != nil {
			return err
		}
	}
	return c.state.Cgroup.Thaw(ctx)
}

// HalfPaused tells whether a pause of the container has begun and not come to its end.
func (c *Container) HalfPaused() (bool, error) { return c.state.Cgroup.Freezing() }
