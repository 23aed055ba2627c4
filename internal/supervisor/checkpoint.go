package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// dumpConfig is the file in a checkpoint that tells what it is of. The others are
// the runtime's and criu's.
const dumpConfig = "config.json"

// dump writes a running container to a new directory. Until all is there the
// directory has another name: what is cut short looks like no checkpoint.
func (c *container) dump(ctx context.Context, r *run, d *wire.Dump) (err error) {
	if d == nil || !filepath.IsAbs(d.Dir) {
		return errs.New(errs.InvalidArgument, "checkpoint of container %s: directory missing", c.id)
	}
	c.starting.Lock() // nor two of them at a time
	defer c.starting.Unlock()
	unfinished := filepath.Join(filepath.Dir(d.Dir), "."+filepath.Base(d.Dir)+".unfinished")
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove interrupted checkpoint: %w", err)
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return fmt.Errorf("create checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(unfinished))
		}
	}()
	if err := os.WriteFile(filepath.Join(unfinished, dumpConfig), d.Config, 0o600); err != nil {
		return fmt.Errorf("create checkpoint: %w", err)
	}
	o := oci.CheckpointOptions{Images: unfinished, Ours: true}
	o.CRIU.LeaveRunning = d.LeaveRunning
	if err := c.checkpoint(ctx, r, o); err != nil {
		return err
	}
	return settle(unfinished, d.Dir)
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

// settle gives a checkpoint its name when it would outlive a power loss: the
// container may not be there any more.
func settle(unfinished, dir string) error {
	for _, step := range []func() error{
		func() error { return syncFiles(unfinished) },
		func() error { return os.Rename(unfinished, dir) }, // replaces nothing but an empty directory
		func() error { return syncFiles(filepath.Dir(dir)) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("finish checkpoint %s: %w", dir, err)
		}
	}
	return nil
}

// syncFiles writes the filesystem of a directory to its disk.
func syncFiles(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
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
