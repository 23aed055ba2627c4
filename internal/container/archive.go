package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apimount "github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/archive"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// kernelDirs are what a running container has of the kernel's own in its root:
// no archive contains them.
var kernelDirs = []string{"/proc", "/sys", "/dev"}

// StatPath describes a path of a container, running or not.
func (s *Service) StatPath(ctx context.Context, id, name string) (st container.PathStat, err error) {
	err = s.viewing(ctx, id, func(_ *record, v view) error {
		found, err := archive.StatPath(v.root, name)
		st = container.PathStat(found)
		return missingFile(err, name, id)
	})
	return st, err
}

// ReadArchive writes a path of a container as a tar stream. begin is called once
// before, with the path's description.
func (s *Service) ReadArchive(ctx context.Context, id, name string, begin func(container.PathStat) io.Writer) error {
	return s.viewing(ctx, id, func(r *record, v view) error {
		p := archive.Packer{Root: v.root, Skip: kernelDirs, IDs: v.ids}
		if err := p.Path(ctx, name, func(st archive.Stat) io.Writer { return begin(container.PathStat(st)) }); err != nil {
			return missingFile(err, name, id)
		}
		s.publish(r, events.ActionArchivePath)
		return nil
	})
}

// WriteArchive unpacks a tar stream into a directory of a container.
func (s *Service) WriteArchive(ctx context.Context, id, dir string, opts engine.WriteArchive, src io.Reader) error {
	return s.viewing(ctx, id, func(r *record, v view) error {
		if err := r.mayWrite(dir); err != nil {
			return err
		}
		u := archive.Unpacker{Root: v.root, IDs: v.ids, KeepKinds: opts.NoOverwriteDirNonDir}
		if opts.CopyUIDGID && r.Config.User != "" {
			who, err := lookupUser(v.root, r.Config.User)
			if err != nil {
				return err
			}
			u.Owner = &archive.Owner{UID: who.Uid, GID: who.Gid}
		}
		if err := u.Into(ctx, dir, src); err != nil {
			return missingFile(err, dir, id)
		}
		s.publish(r, events.ActionExtractToDir)
		return nil
	})
}

// missingFile names the container in which a path was not found.
func missingFile(err error, name, id string) error {
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Could not find the file %s in container %s", path.Clean(name), id)
	}
	return err
}

// mayWrite refuses places that the container itself could not write to either.
func (r *record) mayWrite(dir string) error {
	dir = path.Join("/", dir)
	best := -1
	for i, m := range r.Mounts {
		under := dir == m.Destination || strings.HasPrefix(dir, m.Destination+"/")
		if under && (best < 0 || len(m.Destination) > len(r.Mounts[best].Destination)) {
			best = i
		}
	}
	switch {
	case best >= 0 && !r.Mounts[best].RW:
		return errs.New(errs.Permission, "mounted volume is marked read-only")
	case best < 0 && r.Host.ReadonlyRootfs:
		return errs.New(errs.Permission, "container rootfs is marked read-only")
	}
	return nil
}

// Export writes a container's own files, without what is mounted in it, as a tar
// stream. begin is called once before.
func (s *Service) Export(ctx context.Context, id string, begin func() io.Writer) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	return s.plainRoot(ctx, c, func(r *record, v view) error {
		if err := (archive.Packer{Root: v.root, IDs: v.ids}).All(ctx, begin()); err != nil {
			return err
		}
		s.publish(r, events.ActionExport)
		return nil
	})
}

// viewing calls f with a container's root as the container sees it. A stopped
// container stays stopped meanwhile.
func (s *Service) viewing(ctx context.Context, id string, f func(*record, view) error) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	return s.running(c, func(r *record, pid int) error {
		h, err := openRootOf(pid, r.ID)
		if err != nil {
			return err
		}
		defer unix.Close(h) //nolint:errcheck // only a handle
		v := viewOf(h, r.State.Remap)
		return v.use(func() error { return f(r, v) })
	}, func(r *record) error {
		return s.assembled(ctx, r, func(v view) error { return f(r, v) })
	})
}

// plainRoot is viewing without the mounts in the root.
func (s *Service) plainRoot(ctx context.Context, c *ctr, f func(*record, view) error) error {
	return s.running(c, func(r *record, pid int) error {
		d, err := cloneRootOf(pid, r.ID)
		if err != nil {
			return err
		}
		defer d.Close()
		return f(r, viewOf(d.FD(), r.State.Remap))
	}, func(r *record) error {
		d, err := s.openRootfs(ctx, r.ID)
		if err != nil {
			return err
		}
		defer d.Close()
		return f(r, viewOf(d.FD(), nil)) // with the owners that are on disk
	})
}

// running calls one of two functions, the second with the container's lock, so
// that it stays stopped.
func (s *Service) running(c *ctr, live func(*record, int) error, stopped func(*record) error) error {
	if r := c.view(); r.State.running() {
		return live(&r, r.State.Pid)
	}
	c.op.Lock()
	r := c.view()
	if r.State.running() { // started meanwhile
		c.op.Unlock()
		return live(&r, r.State.Pid)
	}
	defer c.op.Unlock()
	return stopped(&r)
}

// openRootOf opens the root of a container's init as it sees it.
func openRootOf(pid int, id string) (int, error) {
	return ofContainer(pid, id, func() (int, error) {
		return unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// ofContainer opens something of a container's init, whose pid may be another's
// already: the process's cgroup says whose it is.
func ofContainer(pid int, id string, open func() (int, error)) (int, error) {
	gone := errs.New(errs.Conflict, "container %s is not running", id)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, gone
	}
	defer unix.Close(pidfd) //nolint:errcheck // only a handle
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !bytes.Contains(groups, []byte(id)) {
		return -1, gone
	}
	h, err := open()
	if err != nil {
		return -1, fmt.Errorf("open root of container %s: %w", id, err)
	}
	if ended, err := ns.WaitExit(pidfd, 0); err != nil || ended {
		_ = unix.Close(h) // only a handle
		return -1, errors.Join(gone, err)
	}
	return h, nil
}

// cloneRootOf makes a view of a running container's root without its mounts. Only
// inside its mount namespace can the root be cloned.
func cloneRootOf(pid int, id string) (*mount.Detached, error) {
	namespace, err := ofContainer(pid, id, func() (int, error) {
		return unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(namespace) //nolint:errcheck // only a handle
	var d *mount.Detached
	err = ns.OnThread(func() error {
		if err := ns.Join(namespace, unix.CLONE_NEWNS); err != nil {
			return err
		}
		d, err = mount.Clone(unix.AT_FDCWD, "/", false)
		return err
	})
	return d, err
}

// assembled calls f with a stopped container's root and its mounts in it, which
// nobody else sees: they are in a mount namespace that ends with the call.
func (s *Service) assembled(ctx context.Context, r *record, f func(view) error) error {
	if err := s.mountVolumes(ctx, r); err != nil {
		return err
	}
	defer func() {
		if err := s.unmountVolumes(context.WithoutCancel(ctx), r); err != nil {
			s.Log.WarnContext(ctx, "unmount volumes", "container", r.ID, "error", err)
		}
	}()
	if ids := s.nextIDs(r); ids != nil {
		return s.assembledMapped(ctx, r, ids, f)
	}
	d, err := s.openRootfs(ctx, r.ID)
	if err != nil {
		return err
	}
	defer d.Close()
	if r.State.StartedAt.IsZero() {
		makeWorkdir(mount.RootAt(d.FD()), r.Config.WorkingDir)
	}
	namespace := -1
	err = ns.OnThread(func() error {
		if err := s.assemble(r, d); err != nil {
			return err
		}
		namespace, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("assemble root of container %s: %w", r.ID, err)
	}
	defer unix.Close(namespace) //nolint:errcheck // it kept the mounts in place
	return f(viewOf(d.FD(), nil))
}

// makeWorkdir makes the working directory as the first start does, for what is
// copied into it before. Why it cannot be made, the start tells.
func makeWorkdir(root mount.Root, dir string) {
	if dir == "" {
		return
	}
	if h, err := root.OpenOrCreate(dir, true); err == nil {
		_ = unix.Close(h) // only a handle
	}
}

// assemble makes a mount namespace of the calling thread's with the root and all
// that is mounted in it; the root comes over the container's directory.
func (s *Service) assemble(r *record, d *mount.Detached) error {
	place, err := s.ownMounts(r)
	if err != nil {
		return err
	}
	defer unix.Close(place) //nolint:errcheck // only a handle
	if err := d.Attach(place); err != nil {
		return err
	}
	return r.attachMounts(mount.RootAt(d.FD()), -1)
}

// ownMounts makes a mount namespace of the calling thread's and opens the place for
// the root in it.
func (s *Service) ownMounts(r *record) (place int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // implies CLONE_FS
		return -1, fmt.Errorf("create mount namespace: %w", err)
	}
	top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(top) //nolint:errcheck // only a handle
	if err := mount.SetAttr(top, mount.Attr{Propagation: unix.MS_PRIVATE}, true); err != nil {
		return -1, err
	}
	return unix.Open(s.store.dir(r.ID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// attachMounts attaches what is mounted in the root; users is the user namespace
// for what is to have mapped ids.
func (r *record) attachMounts(root mount.Root, users int) error {
	for _, m := range r.Mounts {
		if m.Type != apimount.TypeBind && m.Type != apimount.TypeVolume {
			continue // a tmpfs is empty until the container runs
		}
		if err := attachIn(root, m, users); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Destination, err)
		}
	}
	return nil
}

func attachIn(root mount.Root, m mountPoint, users int) error {
	d, err := m.clone()
	if err != nil {
		return err
	}
	defer d.Close()
	if m.mapped {
		if err := d.MapIDs(users, false); err != nil {
			return err
		}
	}
	isDir, err := mount.IsDir(d.FD())
	if err != nil {
		return err
	}
	if !m.RW {
		if err := d.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, !m.ReadOnlyFlat); err != nil {
			return err
		}
	}
	target, err := root.OpenOrCreate(m.Destination, isDir)
	if err != nil {
		return err
	}
	defer unix.Close(target) //nolint:errcheck // only a handle
	return d.Attach(target)
}
