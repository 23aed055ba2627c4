package volume

import (
	"bytes"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// copyAttributes gives the file behind the handle to what from has: owner, mode,
// extended attributes, times. The order matters: a change of owner clears
// set-user-ID bits and capabilities, and every change touches the times.
func copyAttributes(from, to int, st *unix.Stat_t) error {
	if err := unix.Fchownat(to, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(procPath(to), st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := copyXattrs(procPath(from), procPath(to)); err != nil {
		return err
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(to, "", times, unix.AT_EMPTY_PATH)
}

// copyXattrs copies extended attributes. The paths are those of handles in
// procfs, through which attributes of symlinks and devices can be had too.
func copyXattrs(from, to string) error {
	names, err := listXattrs(from)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue // the image store's own, not the image's
		}
		value, err := readXattr(from, name)
		if errors.Is(err, unix.ENODATA) {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		if err := unix.Setxattr(to, name, value, 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

func listXattrs(path string) ([]string, error) {
	list, err := grow(func(buf []byte) (int, error) { return unix.Listxattr(path, buf) })
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

func readXattr(path, name string) ([]byte, error) {
	return grow(func(buf []byte) (int, error) { return unix.Getxattr(path, name, buf) })
}

// grow calls read with buffers of increasing size until the answer fits.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := read(buf)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// readlink reads the link that the handle is itself.
func readlink(fd int) (string, error) {
	b, err := grow(func(buf []byte) (int, error) {
		n, err := unix.Readlinkat(fd, "", buf)
		if err == nil && n == len(buf) {
			return 0, unix.ERANGE // perhaps cut off
		}
		return n, err
	})
	return string(b), err
}
