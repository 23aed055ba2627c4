package container

import (
	"context"
	"fmt"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/archive"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/linux/userns"
)

// view is a container's root file system, seen from the machine.
type view struct {
	root mount.Root
	ids  archive.IDs // what the container's owners are here
}

func viewOf(h int, ids *user.IdentityMapping) view {
	v := view{root: mount.RootAt(h)}
	if ids != nil {
		v.ids.IdentityMapping = *ids
	}
	return v
}

// use calls f so that the files it makes belong to the container's root: others
// nobody can make where ids are mapped.
func (v view) use(f func() error) error {
	if v.ids.Empty() {
		return f()
	}
	return ns.OnThread(func() error {
		if err := process.OwnFiles(v.ids.RootPair()); err != nil {
			return err
		}
		return f()
	})
}

// nextIDs are the ids that a run of the container would have now.
func (s *Service) nextIDs(r *record) *user.IdentityMapping {
	if s.Remap.Empty() || r.Host.UsernsMode.IsHost() {
		return nil
	}
	return &s.Remap
}

// assembledMapped is assembled for a container in a user namespace.
func (s *Service) assembledMapped(ctx context.Context, r *record, ids *user.IdentityMapping, f func(view) error) error {
	steps, err := s.rootfsStep(ctx, r.ID)
	if err != nil {
		return err
	}
	if err := r.findMapped(ids); err != nil {
		return err
	}
	users, err := userns.New(kernelIDs(ids.UIDMaps), kernelIDs(ids.GIDMaps))
	if err != nil {
		return err
	}
	defer users.Close() //nolint:errcheck // only a handle
	mapped := mount.IDs{Users: int(users.Fd())}
	mapped.UID, mapped.GID = ids.RootPair()
	return ns.OnThread(func() error {
		place, err := s.ownMounts(r)
		if err != nil {
			return err
		}
		defer unix.Close(place) //nolint:errcheck // only a handle
		d, err := mappedRootfs(place, steps, mapped)
		if err != nil {
			return fmt.Errorf("view root file system of container %s: %w", r.ID, err)
		}
		defer d.Close()
		v := viewOf(d.FD(), ids)
		if err := process.OwnFiles(ids.RootPair()); err != nil {
			return err
		}
		if r.State.StartedAt.IsZero() {
			makeWorkdir(v.root, r.Config.WorkingDir)
		}
		if err := r.attachMounts(v.root, mapped.Users); err != nil {
			return fmt.Errorf("assemble root of container %s: %w", r.ID, err)
		}
		return f(v)
	})
}

// mappedRootfs mounts a container's root on place in a mount namespace of the
// calling thread's own.
func mappedRootfs(place int, m engine.RootfsMount, ids mount.IDs) (*mount.Detached, error) {
	if m.Type != "bind" {
		return mount.MappedOverlay(place, m.Source, mount.ParseOptions(m.Options), ids)
	}
	d, err := mount.Clone(unix.AT_FDCWD, m.Source, false)
	if err != nil {
		return nil, err
	}
	if err = d.MapIDs(ids.Users, false); err == nil {
		err = d.Attach(place)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}
