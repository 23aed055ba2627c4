package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
)

// Repeater starts the same process in a container again and again, at a fraction
// of what an Exec costs: it keeps a small process that has joined the container's
// namespaces and forks when it is told to. User, working directory and program are
// those that were found when it was made. It is safe for concurrent use.
type Repeater struct {
	c *Container

	mu   sync.Mutex
	sock int // -1: closed
}

// Repeat prepares an additional process without a terminal; of o.IO nothing counts.
// The caller reaps the Process, which is the small one, ends it by a signal, and
// calls Close afterwards. Containers that need care of each process (those with a
// user namespace, for one) give errs.Unsupported.
func (c *Container) Repeat(_ context.Context, o ExecOptions) (_ *Repeater, _ *Process, err error) {
	if err := c.execAllowed(false); err != nil {
		return nil, nil, err
	}
	p, filter, err := c.planExec(o.Process)
	if err != nil {
		return nil, nil, err
	}
	p.Process.User = o.User.plan()
	if c.state.UserNS || c.state.TimeNS || ns.Rootless() || c.state.Listener != nil || c.state.Resctrl != nil || p.Process.Terminal || !boot.Threadable(p, 0) {
		return nil, nil, errs.New(errs.Unsupported, "this process cannot be repeated")
	}
	o.IO = IO{}
	s, err := c.spawnExec(o, p, filter, true)
	if err != nil {
		return nil, nil, err
	}
	r := &Repeater{c: c, sock: s.sock}
	s.sock = -1
	proc, err := s.process("")
	return r, proc, err
}

// Start runs the process once more. The caller reaps it, reads what it writes to
// its standard output and error from the file, and calls Failure when it has ended.
// An error means that the Repeater is of no use any more.
func (r *Repeater) Start() (*Process, *os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sock < 0 {
		return nil, nil, errs.New(errs.Conflict, "cannot exec in a stopped container")
	}
	if err := fd.WriteFrame(r.sock, fd.Frame{Kind: boot.FrameGo}); err != nil {
		return nil, nil, fmt.Errorf("repeat process: %w", err)
	}
	f, err := r.frame(boot.FrameOutput)
	if err != nil {
		return nil, nil, err
	}
	if len(f.FDs) != 1 {
		closeAll(f.FDs)
		return nil, nil, fmt.Errorf("repeat process: %d descriptors for its output", len(f.FDs))
	}
	err = unix.SetNonblock(f.FDs[0], true) // so that the Go poller waits for it
	out := os.NewFile(uintptr(f.FDs[0]), "|0")
	if err == nil {
		f, err = r.frame(boot.FrameBorn)
	}
	if err == nil && len(f.Body) != 4 {
		err = fmt.Errorf("repeat process: pid of %d bytes", len(f.Body))
	}
	var child ns.Child
	if err == nil {
		if child, err = ns.OpenChild(int(binary.NativeEndian.Uint32(f.Body))); err != nil {
			err = fmt.Errorf("repeat process: %w", err)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, out.Close())
	}
	return &Process{Pid: child.Pid, PidFD: os.NewFile(uintptr(child.PidFD), "pidfd")}, out, nil
}

// frame reads a frame of that kind.
func (r *Repeater) frame(kind byte) (fd.Frame, error) {
	f, err := fd.ReadFrame(r.sock)
	switch {
	case err != nil:
		return f, fmt.Errorf("repeat process: %w", err)
	case f.Kind == boot.FrameErrno:
		return f, r.c.explain(failure(boot.DecodeErrno(f.Body)))
	case f.Kind != kind:
		closeAll(f.FDs)
		return f, fmt.Errorf("repeat process: unexpected frame %q", f.Kind)
	}
	return f, nil
}

// Failure tells why a process that has ended never became the program; nil if it did.
func (r *Repeater) Failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sock < 0 {
		return nil
	}
	ready := []unix.PollFd{{Fd: int32(r.sock), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 0); n == 0 || err != nil || ready[0].Revents&unix.POLLIN == 0 {
		return nil
	}
	_, err := r.frame(boot.FrameErrno)
	return err
}

// Close gives up what belongs to the Repeater in this process. It may be called twice.
func (r *Repeater) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd.Close(r.sock)
	r.sock = -1
}
