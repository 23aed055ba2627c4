package mount

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mountinfo"
)

// MoveRoot makes newRoot the root by moving it over / and changing root: for
// the initial ramfs, from which the kernel refuses to pivot. It is weaker than
// Pivot, as the old root stays in the namespace. What of procfs and sysfs is there
// does not, since whoever is root in a user namespace could mount them anew, without
// what masks them, as long as the kernel sees them whole anywhere.
func MoveRoot(newRoot int) error {
	if err := hideKernel(newRoot); err != nil {
		return err
	}
	if err := unix.Fchdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("move root: %w", err)
	}
	return changeRoot()
}

// hideKernel unmounts procfs and sysfs outside of newRoot.
func hideKernel(newRoot int) error {
	root, err := os.Readlink("/proc/thread-self/fd/" + strconv.Itoa(newRoot))
	if err != nil {
		return fmt.Errorf("find new root: %w", err)
	}
	others, err := kernelMounts(root)
	if err != nil {
		return err
	}
	for _, at := range slices.Backward(others) { // the last one lies on top
		// The unmounting must not reach the host through shared mounts.
		err := unix.Mount("", at, "", unix.MS_SLAVE|unix.MS_REC, "")
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			continue // another mount hides it, or it went with one that it lay on
		}
		if err == nil {
			err = unix.Unmount(at, unix.MNT_DETACH)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			// It belongs to another user namespace.
			err = unix.Mount("tmpfs", at, "tmpfs", unix.MS_RDONLY, "nr_blocks=1,nr_inodes=1")
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", at, err)
		}
	}
	return nil
}

// kernelMounts lists where procfs and sysfs are mounted outside of root.
func kernelMounts(root string) ([]string, error) {
	data, err := fd.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		m, err := mountinfo.Parse(line)
		if err != nil {
			return nil, err
		}
		if (m.Kind == "proc" || m.Kind == "sysfs") && !strings.HasPrefix(m.Place+"/", root+"/") {
			all = append(all, m.Place)
		}
	}
	return all, nil
}
