package boot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// copier copies trees. Whatever it reads it has looked at through the same handle:
// links are copied, never followed, and no device is opened.
type copier struct{ proc int }

// copyUp fills a new tmpfs with what the directory that it hides contains. proc
// is a handle on the machine's procfs.
func copyUp(proc, from, to int) error {
	dst, err := unix.Openat(to, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = copier{proc}.dir(from, dst)
	}
	if err != nil {
		return fmt.Errorf("copy directory into tmpfs: %w", err)
	}
	return nil
}

// dir copies the content and attributes of the directory behind a handle to dst,
// which it closes.
func (c copier) dir(handle, dst int) error {
	out := os.NewFile(uintptr(dst), "target")
	defer func() { _ = out.Close() }() // directories have nothing to flush
	src, err := unix.Openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(src), "source")
	defer func() { _ = in.Close() }() // read only
	names, err := in.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.entry(src, dst, name); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	return own(dst, &st)
}

// own gives an open file the owner and mode of another.
func own(h int, st *unix.Stat_t) error {
	if err := unix.Fchown(h, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(h, st.Mode&0o7777)
}

func (c copier) entry(src, dst int, name string) error {
	h, err := unix.Openat(src, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(h)
	var st unix.Stat_t
	if err := unix.Fstat(h, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(dst, name, 0o700); err != nil {
			return err
		}
		d, err := unix.Openat(dst, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return c.dir(h, d)
	case unix.S_IFREG:
		return c.file(h, dst, name, &st)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(h, "", buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), dst, name); err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func (c copier) file(handle, dst int, name string, st *unix.Stat_t) (err error) {
	s, err := mount.ReopenRegular(c.proc, handle)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(s), name)
	defer func() { _ = in.Close() }() // read only
	d, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(d), name)
	if _, err = io.Copy(out, in); err == nil {
		err = own(d, st)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}
