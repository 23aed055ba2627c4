package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// OpenProc gives an O_PATH handle on the machine's procfs, which must be the
// caller's /proc still: it is to be called before a container's files come into
// sight.
func OpenProc() (int, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /proc: %w", err)
	}
	if !IsFilesystem(proc, unix.PROC_SUPER_MAGIC) {
		_ = unix.Close(proc) // only a handle
		return -1, errors.New("open /proc: it is not a procfs")
	}
	return proc, nil
}

// MaxUserFile bounds what is read of a container's /etc/passwd and /etc/group: an
// image may contain a file of any size (CVE-2026-47262).
const MaxUserFile = 8 << 20

// OpenRegular opens a regular file for reading, through a handle of OpenProc's.
// Anything else in its place is refused without having been opened: opening alone
// arms a watchdog, rewinds a tape or waits. So are files in which the kernel
// itself speaks, some of which (kmsg) lose what is read.
func (r Root) OpenRegular(proc int, name string) (int, error) {
	return r.openChecked(proc, name, plainFlags, isRegular)
}

// OpenDevice opens the character device major:minor, through a handle of
// OpenProc's. Anything else in its place is refused without having been opened.
func (r Root) OpenDevice(proc int, name string, major, minor uint32, flags int) (int, error) {
	return r.openChecked(proc, name, flags, func(h int) bool { return IsDevice(h, major, minor) })
}

// ErrOtherFile says that something else is in the place of the file that was to
// be opened.
var ErrOtherFile = errors.New("it is not the kind of file that it must be")

// openChecked looks at what name is before it opens it. What it opens is what it
// has looked at, whatever has become of the name meanwhile.
func (r Root) openChecked(proc int, name string, flags int, wanted func(handle int) bool) (int, error) {
	handle, err := r.Open(name, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(handle) }() // only a handle
	if !wanted(handle) {
		return -1, &fs.PathError{Op: "open", Path: name, Err: ErrOtherFile}
	}
	h, err := reopen(proc, handle, flags)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return h, nil
}

func reopen(proc, handle, flags int) (int, error) {
	for {
		h, err := unix.Openat(proc, "thread-self/fd/"+strconv.Itoa(handle), flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return h, err
		}
	}
}

const plainFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

// ReopenRegular opens the file behind a handle (O_PATH) for reading, as OpenRegular
// does with a name: ErrOtherFile if it is not a regular one.
func ReopenRegular(proc, handle int) (int, error) {
	if !isRegular(handle) {
		return -1, ErrOtherFile
	}
	return reopen(proc, handle, plainFlags)
}

func isRegular(h int) bool {
	var st unix.Stat_t
	return unix.Fstat(h, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && !isKernels(h)
}

// isKernels tells whether the handle is on a filesystem by which the kernel is
// spoken with.
func isKernels(h int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(h, &st); err != nil {
		return true
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC:
		return true
	}
	return false
}
