// Package process changes what belongs to the calling thread or process and
// survives execve: identity, keyring, limits, scheduling, flags. Capabilities
// have a package of their own. Identity calls act on the calling thread alone,
// which the caller has locked and from which it will execve.
package process

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/capability"
)

// AsUser calls f with a user's and groups' rights to files. It acts on the calling
// thread, which keeps the supplementary groups afterwards.
func AsUser(uid, gid uint32, groups []uint32, f func() error) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); errno != 0 {
		return fmt.Errorf("set supplementary groups: %w", errno)
	}
	// These two return the previous id and do not tell failure; with a right that
	// is missing f fails.
	oldGID, _, _ := unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	oldUID, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	err := f()
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, oldUID, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, oldGID, 0, 0)
	return err
}

// Undumpable keeps other processes of the container out of /proc/PID of this
// one until execve.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set dumpable: %w", err)
	}
	return nil
}

// SessionKeyring joins the session keyring of that name, or makes it, so that
// the container does not have that of whoever started it. A kernel without
// keyrings, or one that forbids them, is no error: then there is none to leak.
func SessionKeyring(name string) error {
	id, err := unix.KeyctlJoinSessionKeyring(name)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("join session keyring: %w", err)
	}
	// The owner may search it (KEY_USR_SEARCH), beside what possessors may.
	perm, err := keyPermissions(id)
	if err != nil {
		return err
	}
	if err := unix.KeyctlSetperm(id, perm|0x080000); err != nil {
		return fmt.Errorf("set permissions of session keyring: %w", err)
	}
	return nil
}

// keyPermissions parses "type;uid;gid;perm;description".
func keyPermissions(id int) (uint32, error) {
	text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
	if err != nil {
		return 0, fmt.Errorf("describe session keyring: %w", err)
	}
	fields := strings.SplitN(text, ";", 5)
	if len(fields) < 5 {
		return 0, fmt.Errorf("describe session keyring: odd text %q", text)
	}
	perm, err := strconv.ParseUint(fields[3], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("describe session keyring: %w", err)
	}
	return uint32(perm), nil
}

// Rlimit is one resource limit; Resource is RLIMIT_*.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// Clamped is the limit as far as the calling process may set it without
// CAP_SYS_RESOURCE in the machine's user namespace: nothing above the present
// hard limit.
func (l Rlimit) Clamped() (Rlimit, error) {
	var have unix.Rlimit
	if err := unix.Prlimit(0, l.Resource, nil, &have); err != nil {
		return l, fmt.Errorf("read limit of type %d: %w", l.Resource, err)
	}
	l.Soft, l.Hard = min(l.Soft, have.Max), min(l.Hard, have.Max)
	return l, nil
}

// IOPriority is an I/O class (1 real-time, 2 best effort, 3 idle) and the level
// within it as one number, as ioprio_set(2) takes it.
func IOPriority(class, level int) int {
	const classShift = 13
	return class<<classShift | level
}

// OwnFiles lets the files that the calling thread makes belong to the given user
// and group, without a change of its rights. The thread must end with what it does
// so, and be locked.
func OwnFiles(uid, gid int) error {
	sets, err := capability.Current()
	if err != nil {
		return err
	}
	for _, set := range []struct {
		what string
		id   int
		call func(int) (int, error)
	}{{"group", gid, unix.SetfsgidRetGid}, {"user", uid, unix.SetfsuidRetUid}} {
		if _, err := set.call(set.id); err != nil {
			return fmt.Errorf("set %s of new files: %w", set.what, err)
		}
		if now, err := set.call(-1); err != nil || now != set.id {
			return fmt.Errorf("set %s of new files to %d: %w", set.what, set.id, unix.EPERM)
		}
	}
	// With another user for files, root gives up its rights over those of others.
	return sets.Set()
}
