package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// PrepareRoot makes the root filesystem's mount in the calling process, for a
// container whose init may not. ids are for what is to have mapped ones. The
// descriptor is the caller's.
func PrepareRoot(r *plan.Root, ids mount.IDs) (int, error) {
	return unseen(func() (*mount.Detached, error) { return attachRoots(r, ids) })
}

// unseen makes a mount that nobody sees: in a mount namespace that ends with a
// thread. It goes on as a detached copy, whose descriptor is the caller's.
func unseen(attach func() (*mount.Detached, error)) (int, error) {
	copied := -1
	err := ns.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // implies CLONE_FS
			return fmt.Errorf("create mount namespace: %w", err)
		}
		top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /: %w", err)
		}
		defer fd.Close(top)
		if err := mount.SetAttr(top, mount.Attr{Propagation: unix.MS_SLAVE}, true); err != nil {
			return fmt.Errorf("set propagation of /: %w", err)
		}
		d, err := attach()
		if err != nil {
			return err
		}
		defer d.Close()
		c, err := mount.Clone(d.FD(), "", true)
		if err != nil {
			return err
		}
		copied = c.FD()
		return nil
	})
	return copied, err
}

// PrepareOverlay makes an overlay of layers with mapped ids in the calling process,
// as PrepareRoot.
func PrepareOverlay(r *plan.Root, m plan.Mount, ids mount.IDs) (int, error) {
	h, err := unseen(func() (*mount.Detached, error) {
		place, err := unix.Open(r.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer fd.Close(place)
		d, err := mount.MappedOverlay(place, m.Source, m.Options, ids)
		if err != nil {
			return nil, err
		}
		if err := finishAttrs(d, m.Options); err != nil {
			d.Close()
			return nil, err
		}
		if m.Options.Subpath == "" {
			return d, nil
		}
		defer d.Close()
		part, err := mount.CloneBeneath(d.FD(), m.Options.Subpath, false)
		if err != nil {
			return nil, err
		}
		if err := part.Attach(place); err != nil { // what is attached nowhere cannot be cloned before Linux 6.15
			part.Close()
			return nil, err
		}
		return part, nil
	})
	if err != nil {
		return -1, fmt.Errorf("error mounting %q to rootfs at %q: %w", m.Source, m.Target, err)
	}
	return h, nil
}

// PrepareSharedRoot is PrepareRoot for a mount namespace that the caller is in and
// that the container will share. place is the directory that it is of.
func PrepareSharedRoot(r *plan.Root) (root, place int, err error) {
	if place, err = openPlace(r.Path); err != nil {
		return -1, -1, err
	}
	d, err := cloneRoot(place, true)
	if err != nil {
		fd.Close(place)
		return -1, -1, fmt.Errorf("mount root filesystem %s: %w", r.Path, err)
	}
	return d.FD(), place, nil
}

// PrepareBind makes a bind mount in the calling process, as PrepareRoot. It is cut
// off from the machine's mounts as all that the container's mount namespace has of
// them: what the container mounts in it must not appear there.
// users is the user namespace whose mappings its ids get, -1: none.
func PrepareBind(r *plan.Root, m plan.Mount, users int) (int, error) {
	var d *mount.Detached
	bind := func() (err error) {
		d, _, err = bindMount(m.Source, m.Options, r.Propagation)
		return err
	}
	var err error
	if m.Options.Namespace == "" {
		err = bind()
	} else {
		err = inNamespace(m.Options.Namespace, bind)
	}
	if err == nil && users >= 0 {
		if err = d.MapIDs(users, m.Options.RecIDMap); err != nil {
			d.Close()
		}
	}
	if err != nil {
		return -1, fmt.Errorf("error mounting %q to rootfs at %q: %w", m.Source, m.Target, err)
	}
	return d.FD(), nil
}

// inNamespace calls f where the mounts are those of a mount namespace, whose root
// is then /: only there can they be cloned.
func inNamespace(file string, f func() error) error {
	return ns.OnThread(func() error {
		h, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: file, Err: err}
		}
		defer fd.Close(h)
		if err := ns.Join(h, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join mount namespace %s: %w", file, err)
		}
		return f()
	})
}
