package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// give makes pipes the property of a user of the machine's. The null device stays
// whose it is.
func (io IO) give(uid, gid int) error {
	for _, f := range []*os.File{io.Stdin, io.Stdout, io.Stderr} {
		if f == nil {
			continue
		}
		var st unix.Stat_t
		err := unix.Fstat(int(f.Fd()), &st)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			err = unix.Fchown(int(f.Fd()), uid, gid)
		}
		if err != nil {
			return fmt.Errorf("give pipes to user %d: %w", uid, err)
		}
	}
	return nil
}

// giveTo is give to root of the user namespace that a process is in.
func (io IO) giveTo(pid int) error {
	uid, err := rootOf(pid, "uid_map")
	if err != nil {
		return err
	}
	gid, err := rootOf(pid, "gid_map")
	if err != nil {
		return err
	}
	return io.give(uid, gid)
}

// rootOf reads what 0 is for the machine in the user namespace of a process.
func rootOf(pid int, file string) (int, error) {
	text, err := fd.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return -1, fmt.Errorf("read mapping of user namespace: %w", err)
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "0" {
			return strconv.Atoi(string(f[1]))
		}
	}
	return -1, errors.New("read mapping of user namespace: it has no root")
}
