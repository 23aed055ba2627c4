package container

import (
	"errors"
	"path/filepath"

	apimount "github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// A part of a volume or of an image is looked up when it is mounted, below a
// handle on the whole: other containers change a volume at any time, and what a
// link in it says must not lead to the machine's files.

// checkSubpaths refuses a start whose volumes and images lack the parts to
// mount. The mount itself, which trusts nothing of this, would word it worse.
func checkSubpaths(ms []mountPoint) error {
	for i := range ms {
		m := &ms[i]
		if m.Subpath == "" {
			continue
		}
		d, err := m.whole()
		if err != nil {
			return err
		}
		h, err := mount.RootAt(d.FD()).OpenBeneath(m.Subpath, unix.O_PATH)
		d.Close()
		if err != nil {
			return m.badSubpath(err)
		}
		_ = unix.Close(h) // only a handle
	}
	return nil
}

// whole is the volume or image that a mount takes a part of.
func (m *mountPoint) whole() (*mount.Detached, error) {
	if m.Type == apimount.TypeImage {
		return mount.New("overlay", "overlay", nil, mount.ParseOptions(m.overlay).Data, unix.MOUNT_ATTR_RDONLY)
	}
	h, err := unix.Open(m.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errs.New(errs.Internal, "open volume %s: %w", m.Name, err)
	}
	return mount.FromFD(h), nil
}

// clone makes a mount of what a bind mount or a volume shows.
func (m *mountPoint) clone() (*mount.Detached, error) {
	if m.Subpath == "" {
		return mount.Clone(unix.AT_FDCWD, m.Source, !m.NonRecursive)
	}
	d, err := m.whole()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	part, err := mount.CloneBeneath(d.FD(), m.Subpath, !m.NonRecursive)
	return part, m.badSubpath(err)
}

// badSubpath words and sorts an error of a subpath's lookup as Docker does.
func (m *mountPoint) badSubpath(err error) error {
	base := m.Source
	if m.Type == apimount.TypeImage {
		base = "image " + m.Name
	}
	kind := errs.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EXDEV):
		return errs.New(errs.InvalidArgument, "path concatenation escapes the base directory, base: %s, subpath: %s", base, m.Subpath)
	case errors.Is(err, unix.ENOENT):
		kind = errs.NotFound
	}
	return errs.New(kind, "cannot access path %s: %w", filepath.Join(base, m.Subpath), errors.Unwrap(err))
}
