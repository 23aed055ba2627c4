// Package fd is the one door through which file descriptors are copied,
// sealed and handed to other processes. It owns nothing: every descriptor that
// it returns is the caller's to close, and every one is close-on-exec.
package fd

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// CloseExecFrom marks every descriptor from first upwards close-on-exec, so
// that a following execve leaks none of them.
func CloseExecFrom(first int) error {
	if err := unix.CloseRange(uint(first), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark descriptors from %d close-on-exec: %w", first, err)
	}
	return nil
}

// Duplicate gives another descriptor of the file behind fd, with a number above
// those of the standard streams.
func Duplicate(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	return dup, nil
}

// Close closes fd unless it is negative. It cannot usefully fail for the kinds
// of descriptors that this package hands out.
func Close(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// DevNull returns the machine's /dev/null, opened once for reading and writing
// and shared by all callers, who must not close it.
var DevNull = sync.OnceValues(func() (*os.File, error) {
	h, err := openFile("/dev/null", unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), "/dev/null"), nil
})
