package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// setOOMScore sets the child's score, which it waits for: it has no plan yet.
func (b *birth) setOOMScore(pid int) error {
	if b.oomScore == nil {
		return nil
	}
	file, want := fmt.Sprintf("/proc/%d/oom_score_adj", pid), strconv.Itoa(*b.oomScore)
	if have, err := fd.ReadFile(file); err == nil && strings.TrimSpace(string(have)) == want {
		return nil
	}
	err := fd.WriteFile(file, want)
	if errors.Is(err, fs.ErrPermission) && !b.exact {
		b.log.Warn("oom_score_adj stays as it is: lowering it needs CAP_SYS_RESOURCE", "asked", want)
		return nil
	}
	if err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}

// allow raises the hard limit of a child in a user namespace, who may not do that,
// to what the child will set, if we may.
func allow(pid int, l process.Rlimit) error {
	var have unix.Rlimit
	err := unix.Prlimit(pid, l.Resource, nil, &have)
	if err == nil && l.Hard > have.Max {
		err = unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: have.Cur, Max: l.Hard}, nil)
		if errors.Is(err, unix.EPERM) {
			return nil // the child makes do, see process.Rlimit.Clamped
		}
	}
	if err != nil {
		return fmt.Errorf("raise limit of type %d: %w", l.Resource, err)
	}
	return nil
}
