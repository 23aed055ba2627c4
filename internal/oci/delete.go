package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// deleteTimeout bounds how long Delete waits for processes to be gone.
const deleteTimeout = 10 * time.Second

// Delete removes what is left of a container: mounts in a namespace that is not
// its own, cgroups and state. A container
// that lives is refused with errs.Conflict, unless force is set, which kills
// it. Deleting again succeeds.
func (c *Container) Delete(ctx context.Context, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	status, err := c.Status()
	if err != nil {
		return err
	}
	// A created container waits for nothing but start: as in runc, it goes
	// without force.
	if status != specs.StateStopped && status != specs.StateCreated && !force {
		return errs.New(errs.Conflict, "cannot delete container %s that is not stopped: %s", c.id, status)
	}
	if err := c.killAll(ctx, status); err != nil {
		return err
	}
	if err := c.unmountShared(ctx); err != nil {
		if !force {
			return fmt.Errorf("delete container %q: %w", c.id, err)
		}
		c.rt.log.Warn("mounts of a container are left", "container", c.id, "error", err)
	}
	if err := c.state.Cgroup.Remove(ctx); err != nil {
		return fmt.Errorf("delete container %q: %w", c.id, err)
	}
	if c.state.Resctrl != nil {
		if err := c.state.Resctrl.Remove(); err != nil {
			return fmt.Errorf("delete container %q: %w", c.id, err)
		}
	}
	c.runHostHooks(ctx, "poststop", c.state.Poststop, specs.StateStopped)
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("delete container %q: %w", c.id, err)
	}
	return nil
}

// killAll ends init and whatever else is in the cgroup: without a PID
// namespace, processes outlive their init.
func (c *Container) killAll(ctx context.Context, status specs.ContainerState) error {
	pids, err := c.Pids()
	if err != nil {
		return err
	}
	if status == specs.StateStopped && len(pids) == 0 {
		return nil
	}
	if err := c.state.Cgroup.SignalAll(ctx, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill container %q: %w", c.id, err)
	}
	pid, start := c.process()
	if pid == 0 {
		return nil
	}
	pidfd, err := ns.Open(pid, start)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill container %q: %w", c.id, err)
	}
	defer fd.Close(pidfd)
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill container %q: %w", c.id, err)
	}
	ended, err := ns.WaitExit(pidfd, deleteTimeout)
	if err == nil && !ended {
		err = errs.New(errs.Unavailable, "its init does not end")
	}
	if err != nil {
		return fmt.Errorf("kill container %q: %w", c.id, err)
	}
	return nil
}

// Delete removes the container with that id. With force, one that does not
// exist is no error, and one whose state is unreadable loses its directory.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	c, err := r.Load(id)
	if err == nil {
		return c.Delete(ctx, force)
	}
	switch {
	case !force || errs.Is(err, errs.InvalidArgument):
		return err
	case errs.Is(err, errs.NotFound):
		return nil
	}
	r.log.Warn("delete container with unreadable state", "container", id, "error", err)
	if err := r.deleteUnfinished(ctx, id); err != nil {
		return fmt.Errorf("delete container %q: %w", id, err)
	}
	return nil
}

// deleteUnfinished removes a container whose creation was interrupted before
// its record was written: init, which waits for its plan or has given up, the
// cgroup and the directory.
func (r *Runtime) deleteUnfinished(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	intent, err := os.ReadFile(filepath.Join(r.dir(id), intentFile))
	if err == nil && len(intent) > 0 { // while it is empty nothing else has been made
		var group cgroup.Group
		if err := json.Unmarshal(intent, &group); err != nil {
			return err
		}
		if pids, err := group.Pids(); err != nil {
			return err
		} else if len(pids) > 0 {
			if err := group.SignalAll(ctx, unix.SIGKILL); err != nil {
				return err
			}
		}
		if err := group.Remove(ctx); err != nil {
			return err
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(r.dir(id))
}
