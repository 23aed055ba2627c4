package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Remove removes the group with all groups below it. Processes that are about
// to end are waited for until ctx ends; none is killed. Removing what is not
// there succeeds.
func (g Group) Remove(ctx context.Context) error {
	if g.Unified != "" {
		if err := g.waitEvent(ctx, "populated", "0"); err != nil && !gone(err) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	var all, stopped error
	if g.Scope != nil {
		stopped = g.Scope.stop(ctx)
	}
	for _, dir := range g.dirs() {
		if err := removeTree(ctx, dir); err != nil {
			all = errors.Join(all, fmt.Errorf("remove cgroup: %w", err))
		}
	}
	if all != nil {
		return errors.Join(stopped, all)
	}
	return nil // a unit without a group is forgotten by systemd itself
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// removeTree retries while a task that has ended is still counted: a v1
// hierarchy has no event for that, it is a matter of a scheduler tick.
func removeTree(ctx context.Context, dir string) error {
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		if below, serr := subdirs(dir); serr == nil && len(below) > 0 {
			for _, sub := range below {
				if err := removeTree(ctx, sub); err != nil {
					return err
				}
			}
			continue
		}
		select {
		case <-ctx.Done():
			return &os.PathError{Op: "rmdir", Path: dir, Err: errors.Join(err, ctx.Err())}
		case <-time.After(wait):
		}
	}
}

func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, nil
}

// waitEvent waits until cgroup.events says value for key, woken by the kernel
// at every change.
func (g Group) waitEvent(ctx context.Context, key, value string) error {
	file, err := unix.Open(filepath.Join(g.Unified, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(file) }() // read only
	const slice = 250 * time.Millisecond    // how late the end of ctx may be noticed
	for {
		buf := make([]byte, 256)
		n, err := unix.Pread(file, buf, 0)
		if err != nil {
			return err
		}
		if v, _ := keyed(string(buf[:n]), key); v == value {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := ns.Poll(file, unix.POLLPRI, slice); err != nil {
			return err
		}
	}
}

func readEvent(dir, key string) (string, error) {
	data, err := fd.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return "", err
	}
	v, _ := keyed(string(data), key)
	return v, nil
}
