package fd

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// OpenIn opens a plain file of a directory, or with O_DIRECTORY a directory, never
// what a link there leads to (ELOOP or ENOTDIR) nor anything else (EINVAL). What
// O_CREAT makes is its owner's only.
func OpenIn(dir int, name string, flags int) (*os.File, error) {
	h, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	want := uint32(unix.S_IFREG)
	if flags&unix.O_DIRECTORY != 0 {
		want = unix.S_IFDIR
	}
	if err = unix.Fstat(h, &st); err == nil && st.Mode&unix.S_IFMT != want {
		err = unix.EINVAL
	}
	if err != nil {
		Close(h)
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

// CheckOwn refuses (errs.Permission) an open file or directory that is another
// user's, or that others may write to. name is what the error calls it.
func CheckOwn(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return errs.New(errs.Permission, "%s must belong to user %d and be writable for nobody else (it belongs to user %d and has mode %#o)",
			name, os.Geteuid(), st.Uid, st.Mode&0o7777)
	}
	return nil
}
