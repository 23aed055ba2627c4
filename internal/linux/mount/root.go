package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the number of dangling symlinks followed for one target, as the
// kernel's own limit for a lookup.
const maxLinks = 40

// Root is a directory whose content is not trusted: every lookup stays inside
// it, whatever symlinks or renames happen there meanwhile.
type Root struct{ fd int }

// RootAt makes a Root of a directory handle, which stays the caller's.
func RootAt(fd int) Root { return Root{fd} }

// FD is the root directory's handle.
func (r Root) FD() int { return r.fd }

// Open opens name as if the root were /. flags are as for open(2); links that
// only procfs has are never followed.
func (r Root) Open(name string, flags int) (int, error) {
	return r.open(name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenNoLinks is Open, but refuses any symlink on the way (ELOOP).
func (r Root) OpenNoLinks(name string, flags int) (int, error) {
	return r.open(name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

// OpenSameMount is OpenNoLinks, but refuses what is mounted below the root, too (EXDEV).
func (r Root) OpenSameMount(name string, flags int) (int, error) {
	return r.open(name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
}

// OpenBeneath is Open, but refuses names and links that lead out of the root (EXDEV).
func (r Root) OpenBeneath(name string, flags int) (int, error) {
	return r.open(name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}

func (r Root) open(name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for {
		fd, err := unix.Openat2(r.fd, rel(name), &how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue // a rename raced with a ".."; the kernel asks for a retry
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
}

// rel keeps the name relative: openat2 treats an absolute one likewise, but an
// empty one is not allowed.
func rel(name string) string {
	name = strings.TrimLeft(name, "/")
	if name == "" {
		return "."
	}
	return name
}

// OpenOrCreate returns an O_PATH handle on name and makes what is missing on
// the way: directories with mode 0755, and name itself as a directory or an
// empty file. It follows dangling symlinks and makes what they point to.
func (r Root) OpenOrCreate(name string, dir bool) (int, error) {
	name = path.Clean("/" + name)
	for range maxLinks {
		fd, err := r.Open(name, unix.O_PATH)
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return fd, err
		}
		next, err := r.createStep(name, dir)
		if err != nil {
			return -1, fmt.Errorf("create %s in the root filesystem: %w", name, err)
		}
		name = next
	}
	return -1, &fs.PathError{Op: "create", Path: name, Err: unix.ELOOP}
}

// createStep creates the missing rest of name up to its end or up to the first
// dangling symlink. It returns the name to try next.
func (r Root) createStep(name string, dir bool) (string, error) {
	if done, err := r.createLast(name, dir); done || err != nil {
		return name, err
	}
	parts := strings.Split(strings.Trim(name, "/"), "/")
	parent, err := r.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(parent) }() // only a handle
	for i, part := range parts {
		prefix := "/" + strings.Join(parts[:i+1], "/")
		fd, err := r.Open(prefix, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			link, lerr := readlinkat(parent, part)
			if lerr == nil { // dangling: go on at where it points to
				rest := strings.Join(parts[i+1:], "/")
				if path.IsAbs(link) {
					return path.Join(link, rest), nil
				}
				return path.Join("/", strings.Join(parts[:i], "/"), link, rest), nil
			}
			if err = makeAt(parent, part, dir || i < len(parts)-1); err == nil {
				fd, err = r.Open(prefix, unix.O_PATH)
			}
		}
		if err != nil {
			return "", err
		}
		_ = unix.Close(parent) // only a handle
		parent = fd
	}
	return name, nil
}

// createLast is createStep for the usual case that only the last part of the
// name is missing. It tells whether that was so.
func (r Root) createLast(name string, dir bool) (bool, error) {
	parent, err := r.Open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false, nil // createStep finds out what is missing
	}
	defer func() { _ = unix.Close(parent) }() // only a handle
	if _, err := readlinkat(parent, path.Base(name)); err == nil {
		return false, nil // dangling
	}
	return true, makeAt(parent, path.Base(name), dir)
}

func makeAt(dirfd int, name string, dir bool) error {
	var err error
	if dir {
		err = unix.Mkdirat(dirfd, name, 0o755)
	} else {
		err = unix.Mknodat(dirfd, name, unix.S_IFREG|0o644, 0)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func readlinkat(dirfd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// IsDir tells whether the handle is a directory.
func IsDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, fmt.Errorf("stat handle: %w", err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// IsDevice tells whether the handle is the character device major:minor. A
// container's /dev/null is only used after this check (CVE-2025-31133).
func IsDevice(fd int, major, minor uint32) bool {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(major, minor)
}

// IsFilesystem tells whether the handle is on a filesystem of the given type
// (a *_SUPER_MAGIC constant).
func IsFilesystem(fd int, magic int64) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == magic
}
