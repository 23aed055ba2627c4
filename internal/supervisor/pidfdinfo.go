package supervisor

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/ns"
)

// pidfdInfo is struct pidfd_info of linux/pidfd.h as of Linux 6.15, where
// PIDFD_INFO_EXIT came.
type pidfdInfo struct {
	Mask     uint64
	CgroupID uint64
	Pid      uint32
	Tgid     uint32
	Ppid     uint32
	Creds    [8]uint32
	ExitCode int32
}

const (
	pidfdInfoExit = 1 << 3
	// _IOWR(0xFF, 11, struct pidfd_info) with the first version's size in the
	// number; the kernel takes any size from 64 bytes up.
	pidfdGetInfo = 0xC0000000 | uintptr(unsafe.Sizeof(pidfdInfo{}))<<16 | 0xFF<<8 | 11
)

// reapGrace is how long the parent of an ended process may take to reap it.
const reapGrace = 2 * time.Second

// strangerStatus asks the kernel how the process behind a pidfd ended that
// somebody else reaps: it tells after that, on Linux 6.15 and later. Else the
// status is unknown.
func strangerStatus(pidfd int) status {
	if _, err := ns.Poll(pidfd, 0, reapGrace); err != nil { // POLLHUP needs no asking for
		return status{code: 255}
	}
	info := pidfdInfo{Mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.Mask&pidfdInfoExit == 0 {
		return status{code: 255}
	}
	return decode(unix.WaitStatus(info.ExitCode))
}
