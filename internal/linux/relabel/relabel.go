// Package relabel gives files SELinux contexts. Which context does not belong here.
package relabel

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

const attribute = "security.selinux"

// refused are the machine's own directories and files: with a context for
// containers, the machine's services lose them.
var refused = []string{
	"/", "/bin", "/boot", "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64", "/media", "/opt", "/proc",
	"/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log",
}

// Tree gives a file, or a directory and all in it, the context label. Links in
// it are labelled, never followed, even if a container changes the tree
// meanwhile: every step is from a handle of a directory to a name in it. What is
// on a filesystem without contexts keeps what it has.
//
// A directory of the machine's, such as /etc, is errs.InvalidArgument.
func Tree(name, label string) error {
	top, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(top) //nolint:errcheck // only a handle
	real, err := os.Readlink(handle(top))
	if err != nil {
		return err
	}
	if home := os.Getenv("HOME"); slices.Contains(refused, real) || home != "" && real == path.Clean(home) {
		return errs.New(errs.InvalidArgument, "SELinux relabeling of %s is not allowed", real)
	}
	return walk(top, name, label)
}

// walk labels what is in a directory before itself: whoever sees the label there
// may take the rest for done.
func walk(file int, at, label string) error {
	if len(at) > unix.PathMax { // else a deep tree takes all descriptors
		return errs.New(errs.InvalidArgument, "label %s…: the path is too long", at[:64])
	}
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return fmt.Errorf("stat %s: %w", at, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := entries(file, at, label); err != nil {
			return err
		}
	}
	if err := set(file, label); err != nil {
		return fmt.Errorf("label %s: %w", at, err)
	}
	return nil
}

func entries(dir int, at, label string) error {
	own, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", at, err)
	}
	d := os.NewFile(uintptr(own), at)
	defer d.Close() //nolint:errcheck // read only
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", at, err)
	}
	for _, name := range names {
		file, err := unix.Openat(own, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // removed meanwhile
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path.Join(at, name), err)
		}
		err = walk(file, path.Join(at, name), label)
		_ = unix.Close(file) // only a handle
		if err != nil {
			return err
		}
	}
	return nil
}

// set changes the context unless it is that already, which spares the disk.
func set(file int, label string) error {
	now := make([]byte, len(label)+1) // the kernel's ends with NUL
	if n, err := unix.Getxattr(handle(file), attribute, now); err == nil && strings.TrimSuffix(string(now[:n]), "\x00") == label {
		return nil
	}
	err := unix.Setxattr(handle(file), attribute, []byte(label), 0)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// handle is the path that leads to an O_PATH handle itself, be it a link.
func handle(file int) string { return fmt.Sprintf("/proc/self/fd/%d", file) }
