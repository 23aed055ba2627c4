package mount

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// MakeDir makes a directory below the handle parent, if it is missing, and gives an
// O_PATH handle on it. made tells whether it was missing.
//
// mkdir(2) gives no handle, so whoever may write to the parent can put something else
// into its place before it is opened. That gets a hostile writer an empty directory at
// most: anything else in the place of one that was made is errs.Conflict, and what is
// no directory is ENOTDIR. Whose it is the caller has to look at.
func MakeDir(parent int, name string, mode uint32) (h int, made bool, err error) {
	err = unix.Mkdirat(parent, name, mode)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, false, err
	}
	made = err == nil
	h, err = unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil || !made {
		return h, made, err
	}
	empty, err := isEmpty(h)
	if err == nil && !empty {
		err = errs.New(errs.Conflict, "directory %s was replaced by another while it was made", name)
	}
	if err != nil {
		fd.Close(h)
		return -1, false, err
	}
	return h, true, nil
}

func isEmpty(dir int) (bool, error) {
	h, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer fd.Close(h)
	buf := make([]byte, 4096)
	for {
		n, err := unix.ReadDirent(h, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return err == nil, err
		}
		if _, names, _ := unix.ParseDirent(buf[:n], 1, nil); names > 0 {
			return false, nil
		}
	}
}
