package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/mount"
)

// copier copies one tree. Both sides may change under its hands, the target even
// by a container that already has the volume, so every step goes from an open
// directory to a name in it and follows no link.
type copier struct {
	ctx   context.Context
	dst   int              // root of the copy
	links map[inode]string // where a file with several names was first copied to
}

type inode struct{ dev, ino uint64 }

// tree copies the content of the directory src into dst, then src's attributes.
// at is dst's path in the copy.
func (c *copier) tree(src, dst int, at string) error {
	names, err := listDir(src)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", at, err)
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(src, dst, name, path.Join(at, name)); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return fmt.Errorf("stat %s: %w", at, err)
	}
	if err := copyAttributes(src, dst, &st); err != nil {
		return fmt.Errorf("set attributes of %s: %w", at, err)
	}
	return nil
}

// listDir reads names through a description of its own, as fd's offset is shared.
func listDir(fd int) ([]string, error) {
	own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(own), "directory")
	defer d.Close() // read only
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// entry copies one name of src to dst.
func (c *copier) entry(src, dst int, name, at string) error {
	from, err := unix.Openat(src, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", at, err)
	}
	defer closeFD(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return fmt.Errorf("stat %s: %w", at, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, ok := c.links[key]; ok {
			return c.link(first, dst, name, at)
		}
		c.links[key] = at
	}
	to, err := c.create(from, dst, name, at, &st)
	if err != nil {
		return fmt.Errorf("create %s: %w", at, err)
	}
	defer closeFD(to)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil // its attributes came with its content
	}
	if err := copyAttributes(from, to, &st); err != nil {
		return fmt.Errorf("set attributes of %s: %w", at, err)
	}
	return nil
}

// create makes the copy of from, with content, and returns a handle on it.
func (c *copier) create(from, dst int, name, at string, st *unix.Stat_t) (int, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(from, dst, name, at)
	case unix.S_IFREG:
		return c.regular(from, dst, name, st)
	case unix.S_IFLNK:
		target, err := readlink(from)
		if err != nil {
			return -1, err
		}
		if err := unix.Symlinkat(target, dst, name); err != nil {
			return -1, err
		}
	default: // fifo, socket, device
		if err := unix.Mknodat(dst, name, st.Mode&unix.S_IFMT|0o600, int(st.Rdev)); err != nil {
			return -1, err
		}
	}
	return unix.Openat(dst, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func (c *copier) directory(from, dst int, name, at string) (int, error) {
	src, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer closeFD(src)
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return -1, err
	}
	to, err := unix.Openat(dst, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := c.tree(src, to, at); err != nil {
		closeFD(to)
		return -1, err
	}
	return to, nil
}

func (c *copier) regular(from, dst int, name string, st *unix.Stat_t) (int, error) {
	in, err := os.Open(procPath(from))
	if err != nil {
		return -1, err
	}
	defer in.Close() // read only
	fd, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	out := os.NewFile(uintptr(fd), name)
	if err := copyData(out, in, st.Size); err != nil {
		return -1, errors.Join(err, out.Close())
	}
	handle, err := unix.FcntlInt(out.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err = errors.Join(err, out.Close()); err != nil {
		return -1, err
	}
	return handle, nil
}

// copyData copies what is not a hole. os.File copies within the kernel.
func copyData(out, in *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		if err != nil {
			start = at // no holes on this file system
		}
		end, err := unix.Seek(int(in.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			end = size
		}
		if _, err := in.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, end-start); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at = end
	}
	return out.Truncate(size)
}

// link gives the file copied to first another name.
func (c *copier) link(first string, dst int, name, at string) error {
	fd, err := mount.RootAt(c.dst).OpenNoLinks(first, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open %s: %w", first, err)
	}
	defer closeFD(fd)
	if err := unix.Linkat(unix.AT_FDCWD, procPath(fd), dst, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return fmt.Errorf("link %s: %w", at, err)
	}
	return nil
}

// procPath names what the descriptor refers to, without another lookup.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
