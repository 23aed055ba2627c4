package boot

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// makeDevices makes the device nodes and links. The directory of each is held
// by a handle while it is made.
func (b *initializer) makeDevices() error {
	dirs := map[string]int{}
	defer func() {
		for _, h := range dirs {
			fd.Close(h)
		}
	}()
	// dir opens the directory of a name once for all names in it.
	dir := func(name string) (int, error) {
		parent := path.Dir(name)
		if h, ok := dirs[parent]; ok {
			return h, nil
		}
		h, err := b.root.OpenOrCreate(parent, true)
		if err == nil {
			dirs[parent] = h
		}
		return h, err
	}
	for _, d := range b.plan.Root.Devices {
		h, err := dir(d.Path)
		if err == nil {
			err = b.makeDevice(h, path.Base(d.Path), d)
		}
		if err != nil {
			return fmt.Errorf("make device %s: %w", d.Path, err)
		}
	}
	for _, link := range b.plan.Root.Links {
		h, err := dir(link[0])
		if err == nil {
			err = makeLink(h, path.Base(link[0]), link[1])
		}
		if err != nil {
			return fmt.Errorf("make link %s: %w", link[0], err)
		}
	}
	return nil
}

// linkMtab makes /etc/mtab in the container's own root, never in what is mounted
// there or where a link leads. Whether it can be made or not, the container starts.
func (b *initializer) linkMtab() {
	etc, err := b.root.OpenSameMount("etc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer fd.Close(etc)
	_ = unix.Symlinkat("/proc/mounts", etc, "mtab") // most often it is there
}

func makeLink(dir int, name, to string) error {
	err := unix.Symlinkat(to, dir, name)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if to != "pts/ptmx" {
		return nil // the image has its own
	}
	// A ptmx of the image would belong to the host's terminals.
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return err
	}
	return unix.Symlinkat(to, dir, name)
}

func (b *initializer) makeDevice(dir int, name string, d plan.Device) error {
	rdev := int(unix.Mkdev(d.Major, d.Minor))
	err := unix.Mknodat(dir, name, d.Mode, rdev)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == d.Mode&unix.S_IFMT && st.Rdev == uint64(rdev) {
			return nil
		}
		err = unix.Unlinkat(dir, name, 0)
		if errors.Is(err, unix.EBUSY) {
			return nil // another device was mounted in its place
		}
		if err == nil {
			err = unix.Mknodat(dir, name, d.Mode, rdev)
		}
	}
	if errors.Is(err, unix.EPERM) {
		return b.bindDevice(dir, name, d) // nobody makes devices in a user namespace
	}
	if err != nil {
		return err
	}
	if d.UID != 0 || d.GID != 0 {
		return unix.Fchownat(dir, name, int(d.UID), int(d.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// bindDevice puts the machine's device of the same name in place.
func (b *initializer) bindDevice(dir int, name string, d plan.Device) error {
	host, err := mount.Clone(unix.AT_FDCWD, d.Path, false)
	if err != nil {
		return err
	}
	defer host.Close()
	if err := b.cutOff(host); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(host.FD(), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != d.Mode&unix.S_IFMT || st.Rdev != unix.Mkdev(d.Major, d.Minor) {
		return fmt.Errorf("the machine's %s is another device", d.Path)
	}
	if err := unix.Mknodat(dir, name, unix.S_IFREG|0o666, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	file, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(file)
	return host.Attach(file)
}
