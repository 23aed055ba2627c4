package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// A container whose mount namespace is not its own has one mount there that all
// of its others lie on, the base: its root filesystem bound to its own path. It is
// all that has to be known to undo them, and the parent knows it before it is there.

// SharedMount is the body of FrameMount.
type SharedMount struct {
	Base  mount.Identity // which is about to be mounted
	Root  mount.Identity // what the container's root will be; it comes to lie on the base
	Place mount.Identity // the one that it will lie on
}

// joinMounts makes this thread a member of the mount namespace that the plan names.
func (b *initializer) joinMounts() error {
	if b.plan.FDs.MountNS <= 0 {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Setns(b.plan.FDs.MountNS, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join mount namespace: %w", err)
	}
	return nil
}

// openSharedRoot mounts the root filesystem for a container in a mount namespace
// that is not its own. The propagation of what is there is left alone: it is the
// container's mounts that are kept from appearing elsewhere.
func (b *initializer) openSharedRoot() error {
	if err := b.joinMounts(); err != nil {
		return err
	}
	r := b.plan.Root
	place, d := r.PlaceFD, mount.FromFD(r.FD)
	if r.FD <= 0 {
		var err error
		if place, err = openPlace(r.Path); err != nil {
			return err
		}
		if d, err = cloneRoot(place, true); err != nil {
			return err
		}
	}
	defer fd.Close(place)
	b.root = mount.RootAt(d.FD())
	base, err := b.mountBase(place, d.FD())
	if err != nil {
		return fmt.Errorf("mount root filesystem %s: %w", r.Path, err)
	}
	defer base.Close()
	if err := d.Attach(base.FD()); err != nil {
		return fmt.Errorf("mount root filesystem %s: %w", r.Path, err)
	}
	return nil
}

// mountBase makes the one mount that lies on what is not the container's. Where that
// is shared, the base appears in other namespaces, too, and goes with its removal
// here; which is why it has nothing on it yet, and is private when it gets it.
func (b *initializer) mountBase(place, root int) (*mount.Detached, error) {
	base, err := cloneRoot(place, false)
	if err != nil {
		return nil, err
	}
	m, err := b.announce(base.FD(), root, place)
	if err == nil {
		err = base.Attach(place)
	}
	if err == nil {
		err = base.SetAttr(mount.Attr{Propagation: unix.MS_PRIVATE}, false)
	}
	var direct bool
	if err == nil {
		direct, err = m.Base.LiesOn(m.Place, b.proc)
	}
	if err == nil && !direct {
		err = errs.New(errs.Conflict, "something else has been mounted there meanwhile")
	}
	if err != nil {
		base.Close()
		return nil, err
	}
	return base, nil
}

func openPlace(dir string) (int, error) {
	place, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errs.New(errs.InvalidArgument, "open root filesystem in the mount namespace: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	return place, nil
}

// cloneRoot copies the mount of a root filesystem. It is private before it is
// attached, as it could otherwise be mounted on itself: it comes from the mount
// that it will lie on.
func cloneRoot(place int, recursive bool) (*mount.Detached, error) {
	d, err := mount.Clone(place, "", recursive)
	if err != nil {
		return nil, err
	}
	if err := d.SetAttr(mount.Attr{Propagation: unix.MS_PRIVATE}, true); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// announce tells the parent of the mount before it is made, so that somebody can
// undo it whatever happens to us. If the parent ends, the mount is not made.
func (b *initializer) announce(base, root, place int) (m SharedMount, err error) {
	if m.Base, err = mount.Identify(base); err != nil {
		return m, err
	}
	if m.Root, err = mount.Identify(root); err != nil {
		return m, err
	}
	if m.Place, err = mount.Identify(place); err != nil {
		return m, err
	}
	top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return m, fmt.Errorf("open /: %w", err)
	}
	defer fd.Close(top)
	own, err := mount.Identify(top)
	if err != nil {
		return m, err
	}
	if own == m.Place {
		return m, errs.New(errs.InvalidArgument, "it is the root of the mount namespace, which is not the container's own")
	}
	body, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	return m, b.ask(FrameMount, body)
}

// ask sends a frame and waits for the parent's answer.
func (b *initializer) ask(kind byte, body []byte) error {
	if err := fd.WriteFrame(b.sock, fd.Frame{Kind: kind, Body: body}); err != nil {
		return err
	}
	f, err := fd.ReadFrame(b.sock)
	if errors.Is(err, io.EOF) {
		os.Exit(1) // the parent has a reason to give up, which it knows
	}
	if err != nil {
		return err
	}
	if f.Kind != FrameGo {
		return fmt.Errorf("wait for the runtime after frame %q: unexpected frame %q", kind, f.Kind)
	}
	return nil
}

// unmount takes a mount of a container that has ended out of a mount namespace.
func (b *initializer) unmount() error {
	if err := b.joinMounts(); err != nil {
		return err
	}
	if err := b.plan.Unmount.Unmount(b.proc); err != nil {
		return err
	}
	if err := fd.WriteFrame(b.sock, fd.Frame{Kind: FrameReady}); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// hostPropagation is that of a bind mount of what the container shares its mount
// namespace with, 0 in a namespace of its own, where all have theirs already.
func (b *initializer) hostPropagation() uint64 {
	switch r := b.plan.Root; {
	case !r.Shared:
		return 0
	case r.Propagation == unix.MS_UNBINDABLE:
		return unix.MS_SLAVE
	default:
		return r.Propagation
	}
}

// cutOff keeps what is mounted on the copy of a mount from appearing on the
// original. In a namespace of the container's own that is so anyway.
func (b *initializer) cutOff(d *mount.Detached) error {
	if !b.plan.Root.Shared {
		return nil
	}
	return d.SetAttr(mount.Attr{Propagation: unix.MS_SLAVE}, true)
}
