package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Start lets the program of a created container run, from whatever process it
// is called. It returns when the program has been executed, or with the reason
// why it was not.
func (c *Container) Start(ctx context.Context) error {
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case specs.StateCreated:
	case specs.StateStopped:
		return errs.New(errs.Conflict, "cannot start a container that has stopped")
	case specs.StateRunning:
		return errs.New(errs.Conflict, "cannot start an already running container")
	default:
		return errs.New(errs.Conflict, "cannot start a container in the %s state", status)
	}
	pid, start := c.process()
	pidfd, err := ns.Open(pid, start)
	if errors.Is(err, unix.ESRCH) {
		return errs.New(errs.Conflict, "cannot start a container that has stopped")
	}
	if err != nil {
		return fmt.Errorf("start container %q: %w", c.id, err)
	}
	s := &spawned{child: ns.Child{Pid: pid, PidFD: pidfd}, console: -1, mounts: -1, log: c.rt.log, limits: c.setLateLimits,
		notify: c.notifier(specs.StateCreated)}
	defer func() { s.closeFiles(); fd.Close(pidfd) }()
	if s.sock, err = c.dialInit(); err != nil {
		return err
	}
	stop := onEnd(ctx, func() { _ = unix.Shutdown(s.sock, unix.SHUT_RDWR) }) // wakes the reading below
	err = s.follow(false)
	stop()
	if err != nil {
		return c.explain(err)
	}
	if err := os.Remove(c.file(startSocket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start container %q: %w", c.id, err)
	}
	if err := c.runHooks("poststart", c.state.Poststart, specs.StateRunning); err != nil {
		return errors.Join(err, c.killAll(ctx, specs.StateRunning))
	}
	return nil
}

// dialInit connects to the waiting init. A socket whose listener is gone means
// that somebody else has started the container.
func (c *Container) dialInit() (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("start container %q: %w", c.id, err)
	}
	err = withSocketPath(c.dir, func(addr *unix.SockaddrUnix) error { return unix.Connect(sock, addr) })
	if err == nil {
		return sock, nil
	}
	fd.Close(sock)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return -1, errs.New(errs.Conflict, "cannot start an already running container")
	}
	return -1, fmt.Errorf("start container %q: %w", c.id, err)
}
