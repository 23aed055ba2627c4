package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// dumpConfig is the file in a checkpoint that tells what it is of. The others are
// the runtime's and criu's.
const dumpConfig = "config.json"

// dump writes a running container to a new directory. Until all is there the
// directory has another name: what is cut short looks like no checkpoint.
func (c *container) dump(ctx context.Context, r *run, d *wire.Dump) error {
	if d == nil || !filepath.IsAbs(d.Dir) {
		return errs.New(errs.InvalidArgument, "checkpoint of container %s: directory missing", c.id)
	}
	c.starting.Lock() // nor two of them at a time
	defer c.starting.Unlock()
	u, err := newUnfinished(d.Dir)
	if err != nil {
		return fmt.Errorf("create checkpoint: %w", err)
	}
	defer u.close()
	if err := u.write(dumpConfig, d.Config); err != nil {
		return errors.Join(fmt.Errorf("create checkpoint: %w", err), u.remove())
	}
	o := oci.CheckpointOptions{Images: u.where(), Dir: u.dir, Ours: true}
	o.CRIU.LeaveRunning = d.LeaveRunning
	if err := c.checkpoint(ctx, r, o); err != nil {
		return errors.Join(err, u.remove())
	}
	err = u.settle()
	if err != nil && d.LeaveRunning {
		return errors.Join(err, u.remove())
	}
	if err != nil { // of what has ended there is nothing else
		return fmt.Errorf("%w; the container has ended, its checkpoint is kept in %s", err, u.where())
	}
	return nil
}

func (c *container) checkpoint(ctx context.Context, r *run, o oci.CheckpointOptions) error {
	r.dumps.Lock()
	defer r.dumps.Unlock()
	ends := func(ends bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		r.dumped = ends
	}
	ends(!o.CRIU.LeaveRunning)
	err := r.rt.Checkpoint(ctx, o)
	if err != nil {
		ends(false)
	}
	return err
}

// bear makes the container's processes, new ones or those of a checkpoint.
func (c *container) bear(ctx context.Context, s *wire.Start, o oci.CreateOptions) (*oci.Container, *oci.Process, error) {
	if s.Restore == "" {
		return c.srv.runtime.Run(ctx, c.id, o)
	}
	// criu's log goes to a directory that is nobody else's, and whose reader is us.
	work := filepath.Join(c.srv.restores, c.id)
	if err := os.RemoveAll(work); err != nil {
		return nil, nil, fmt.Errorf("remove log of earlier restore: %w", err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, nil, fmt.Errorf("create directory of criu's log: %w", err)
	}
	rt, proc, err := c.srv.runtime.Restore(ctx, c.id, o, oci.CheckpointOptions{Images: s.Restore, Ours: true, Work: work})
	if rerr := os.RemoveAll(work); rerr != nil {
		c.srv.log.Warn("remove log of restore", "container", c.id, "error", rerr)
	}
	return rt, proc, err
}
