package oci

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
)

// Repeat prepares an additional process that is run again and again, at a fraction
// of what an Exec costs: a small process that has joined the container's namespaces
// forks whenever it is told to through the socket, see package repeat. User,
// working directory and program are those that are found now. A process that runs
// longer than timeout is killed with its group.
//
// Of o.IO nothing counts; there is no terminal. The caller reaps the Process, which
// is the small one and ends when the socket is closed. Containers that need care of
// each process (those with a user namespace, for one) give errs.Unsupported.
func (c *Container) Repeat(_ context.Context, o ExecOptions, timeout time.Duration) (_ *Process, sock int, err error) {
	if timeout <= 0 {
		return nil, -1, errs.New(errs.InvalidArgument, "timeout %s of a process to repeat is not positive", timeout)
	}
	if err := c.execAllowed(false); err != nil {
		return nil, -1, err
	}
	p, filter, err := c.planExec(o.Process)
	if err != nil {
		return nil, -1, err
	}
	p.Process.User = o.User.plan()
	if c.state.UserNS || c.state.TimeNS || ns.Rootless() || c.state.Listener != nil || c.state.Resctrl != nil || p.Process.Terminal || !boot.Threadable(p, 0) {
		return nil, -1, errs.New(errs.Unsupported, "this process cannot be repeated")
	}
	o.IO = IO{}
	s, err := c.spawnExec(o, p, filter, timeout)
	if err != nil {
		return nil, -1, c.orStopped(err)
	}
	defer s.closeFiles()
	if err := s.follow(true); err != nil {
		return nil, -1, errors.Join(c.orStopped(c.explain(err)), s.kill())
	}
	proc, err := s.process("")
	if err != nil {
		return nil, -1, err
	}
	sock, s.sock = s.sock, -1
	return proc, sock, nil
}
