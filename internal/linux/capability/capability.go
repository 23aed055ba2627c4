// Package capability names the kernel's capabilities and puts a thread's five
// sets in place. It works on the calling thread only: a container's init is one
// thread that matters, the others end at execve.
package capability

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// names in the order of the kernel's numbers, see linux/capability.h.
var names = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Names lists the capabilities that this package knows, in the kernel's order.
func Names() []string { return append([]string(nil), names[:]...) }

// Mask is a set of capabilities, bit n for the capability with number n.
type Mask uint64

// Bit returns the set of the one capability with the kernel's number n.
func Bit(n int) Mask { return 1 << n }

// Parse turns names into a set; unknown are those that it does not know.
func Parse(list []string) (m Mask, unknown []string) {
next:
	for _, name := range list {
		for i, known := range names {
			if strings.EqualFold(name, known) {
				m |= Bit(i)
				continue next
			}
		}
		unknown = append(unknown, name)
	}
	return m, unknown
}

// String lists the names in a set, for messages.
func (m Mask) String() string {
	var list []string
	for i, name := range names {
		if m&Bit(i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// Sets are the capability sets of a thread.
type Sets struct {
	Bounding, Effective, Permitted, Inheritable, Ambient Mask
}

// Last returns the number of the last capability that the running kernel knows.
func Last() int {
	data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			return n
		}
	}
	for n := 0; n < 64; n++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil {
			return n - 1
		}
	}
	return 63
}

// Current returns the calling thread's effective, permitted and inheritable sets.
func Current() (Sets, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return Sets{}, fmt.Errorf("read capabilities: %w", err)
	}
	join := func(low, high uint32) Mask { return Mask(low) | Mask(high)<<32 }
	return Sets{
		Effective:   join(data[0].Effective, data[1].Effective),
		Permitted:   join(data[0].Permitted, data[1].Permitted),
		Inheritable: join(data[0].Inheritable, data[1].Inheritable),
	}, nil
}

// DropBounding takes everything out of the bounding set that is not in keep.
// It needs CAP_SETPCAP. What the kernel does not know (EINVAL) ends the list.
func DropBounding(keep Mask) error {
	for n := 0; n < 64; n++ {
		if keep&Bit(n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			if errors.Is(err, unix.EINVAL) {
				return nil
			}
			return fmt.Errorf("drop capability %d from the bounding set: %w", n, err)
		}
	}
	return nil
}

// Set puts the effective, permitted and inheritable sets in place.
func Set(s Sets) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		shift := 32 * i
		data[i] = unix.CapUserData{
			Effective:   uint32(s.Effective >> shift),
			Permitted:   uint32(s.Permitted >> shift),
			Inheritable: uint32(s.Inheritable >> shift),
		}
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// RaiseAmbient puts the capabilities into the ambient set; they must be
// permitted and inheritable. What is there already goes first.
func RaiseAmbient(m Mask) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	for n := 0; n < 64; n++ {
		if m&Bit(n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("raise ambient capability %d: %w", n, err)
		}
	}
	return nil
}
