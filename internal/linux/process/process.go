// Package process changes what belongs to the calling thread or process and
// survives execve: identity, keyring, limits, scheduling, flags. Capabilities
// have a package of their own. Identity calls act on the calling thread alone,
// which the caller has locked and from which it will execve.
package process

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetGroups sets the supplementary groups of the calling thread.
func SetGroups(gids []uint32) error {
	var p unsafe.Pointer
	if len(gids) > 0 {
		p = unsafe.Pointer(&gids[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(gids)), uintptr(p), 0); errno != 0 {
		return fmt.Errorf("set supplementary groups: %w", errno)
	}
	return nil
}

// SetGID sets all group ids of the calling thread.
func SetGID(gid uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return fmt.Errorf("set group id %d: %w", gid, errno)
	}
	return nil
}

// SetUID sets all user ids of the calling thread. With keepCaps the permitted
// capabilities stay when leaving root (until execve).
func SetUID(uid uint32, keepCaps bool) error {
	var keep uintptr
	if keepCaps {
		keep = 1
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, keep, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return fmt.Errorf("set user id %d: %w", uid, errno)
	}
	return nil
}

// NoNewPrivileges keeps setuid programs from giving the process anything.
func NoNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
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
	var kind, description string
	var uid, gid int
	var perm uint32
	if _, err := fmt.Sscanf(splitSemicolons(text), "%s %d %d %x %s", &kind, &uid, &gid, &perm, &description); err != nil {
		return 0, fmt.Errorf("describe session keyring: %q: %w", text, err)
	}
	return perm, nil
}

func splitSemicolons(s string) string {
	b := []byte(s)
	for i, n := 0, 0; i < len(b) && n < 4; i++ {
		if b[i] == ';' {
			b[i], n = ' ', n+1
		}
	}
	return string(b)
}

// Rlimit is one resource limit; Resource is RLIMIT_*.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// SetRlimit sets a limit. If that needs a privilege that is missing and clamp is
// set, it sets what is possible and tells so.
func SetRlimit(l Rlimit, clamp bool) (clamped bool, err error) {
	want := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
	err = unix.Prlimit(0, l.Resource, &want, nil)
	if err == nil {
		return false, nil
	}
	if !clamp || !errors.Is(err, unix.EPERM) {
		return false, fmt.Errorf("error setting rlimit type %d: %w", l.Resource, err)
	}
	var have unix.Rlimit
	if err := unix.Prlimit(0, l.Resource, nil, &have); err != nil {
		return false, fmt.Errorf("error setting rlimit type %d: %w", l.Resource, err)
	}
	want = unix.Rlimit{Cur: min(want.Cur, have.Max), Max: min(want.Max, have.Max)}
	if err := unix.Prlimit(0, l.Resource, &want, nil); err != nil {
		return false, fmt.Errorf("error setting rlimit type %d: %w", l.Resource, err)
	}
	return true, nil
}

// SetIOPriority sets the calling thread's I/O class (1 real-time, 2 best
// effort, 3 idle) and level within it.
func SetIOPriority(class, level int) error {
	const whoProcess, classShift = 1, 13
	_, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(class<<classShift|level))
	if errno != 0 {
		return fmt.Errorf("set I/O priority: %w", errno)
	}
	return nil
}

// SetPersonality sets the execution domain (PER_* of sys/personality.h).
func SetPersonality(p uint) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, uintptr(p), 0, 0); errno != 0 {
		return fmt.Errorf("set personality: %w", errno)
	}
	return nil
}
