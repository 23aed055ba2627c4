// Package capability names the kernel's capabilities, reads a thread's sets and
// encodes them for the kernel.
package capability

import (
	"encoding/binary"
	"fmt"
	"math/bits"
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

// Numbers lists the kernel's numbers of the capabilities in a set.
func (m Mask) Numbers() []int {
	var list []int
	for ; m != 0; m &= m - 1 {
		list = append(list, bits.TrailingZeros64(uint64(m)))
	}
	return list
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

// Bounding returns the calling thread's bounding set.
func Bounding() (m Mask) {
	for n := range 64 {
		have, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil { // the kernel does not know it
			return m
		}
		if have == 1 {
			m |= Bit(n)
		}
	}
	return m
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

// Set makes the effective, permitted and inheritable sets those of the calling
// thread, which must be locked.
func (s Sets) Set() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		half := func(m Mask) uint32 { return uint32(m >> (32 * i)) }
		data[i] = unix.CapUserData{Effective: half(s.Effective), Permitted: half(s.Permitted), Inheritable: half(s.Inheritable)}
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// Encoded gives the effective, permitted and inheritable sets as capset(2) takes
// them: struct __user_cap_header_struct and two of __user_cap_data_struct.
func (s Sets) Encoded() (header, data []byte) {
	header = binary.NativeEndian.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	header = binary.NativeEndian.AppendUint32(header, 0) // the calling thread
	for shift := 0; shift < 64; shift += 32 {
		for _, m := range []Mask{s.Effective, s.Permitted, s.Inheritable} {
			data = binary.NativeEndian.AppendUint32(data, uint32(m>>shift))
		}
	}
	return header, data
}
