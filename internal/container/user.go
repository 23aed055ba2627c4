package container

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// plainUser leaves out what follows a second colon, as Docker does.
func plainUser(name string) string {
	parts := strings.SplitN(name, ":", 3)
	return strings.Join(parts[:min(len(parts), 2)], ":")
}

// lookupUser finds a user in Docker's notation in the container's own files.
func lookupUser(root mount.Root, name string) (*user.ExecUser, error) {
	passwd, err := readPlain(root, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	group, err := readPlain(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	who, err := user.GetExecUser(plainUser(name), nil, bytes.NewReader(passwd), bytes.NewReader(group))
	return who, errs.Wrap(errs.InvalidArgument, err)
}

// checkUser refuses the user of an exec in a running container that is not
// there. What the container makes of its files until the exec starts, the
// runtime finds out.
func checkUser(r *record, name string) error {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n <= math.MaxInt32 {
		return nil // a number need not be in the files
	}
	h, err := openRootOf(r.State.Pid, r.ID)
	if err != nil {
		return err
	}
	defer unix.Close(h) //nolint:errcheck // only a handle
	_, err = lookupUser(mount.RootAt(h), name)
	return err
}

// readPlain reads a regular file of a root; one that is not there is empty.
func readPlain(root mount.Root, name string) ([]byte, error) {
	proc, err := mount.OpenProc()
	if err != nil {
		return nil, err
	}
	defer unix.Close(proc) //nolint:errcheck // only a handle
	h, err := root.OpenRegular(proc, name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if errors.Is(err, mount.ErrOtherFile) {
		return nil, errs.New(errs.InvalidArgument, "%s of the container is not a regular file", name)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(h), name)
	defer f.Close() //nolint:errcheck // read only
	return io.ReadAll(io.LimitReader(f, mount.MaxUserFile))
}
