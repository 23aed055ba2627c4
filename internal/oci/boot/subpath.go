package boot

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// narrow exchanges a new filesystem for a part of it. A mount that is attached
// nowhere cannot be cloned before Linux 6.15: for a moment it lies over the root,
// where nobody looks.
func (b *initializer) narrow(whole *mount.Detached, name string) (*mount.Detached, error) {
	defer whole.Close()
	if err := whole.Attach(b.root.FD()); err != nil {
		return nil, err
	}
	part, err := mount.CloneBeneath(whole.FD(), name, false)
	if derr := whole.Detach(); derr != nil && err == nil {
		part.Close()
		return nil, derr
	}
	return part, err
}

// cloneSource clones what a bind mount is to show.
func cloneSource(source string, o mount.Options) (*mount.Detached, error) {
	if o.Subpath == "" {
		d, err := mount.Clone(unix.AT_FDCWD, source, o.Recursive)
		if err != nil {
			return nil, &os.PathError{Op: "bind", Path: source, Err: errors.Unwrap(err)}
		}
		return d, nil
	}
	h, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "bind", Path: source, Err: err}
	}
	defer fd.Close(h)
	return mount.CloneBeneath(h, o.Subpath, o.Recursive)
}
