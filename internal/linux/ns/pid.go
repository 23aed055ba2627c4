package ns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// Proc is what /proc/PID/stat says of a process.
type Proc struct {
	State     byte   // R, S, D, Z, X, …
	StartTime uint64 // clock ticks since boot
}

// Stat reads /proc/pid/stat. An error matching os.ErrNotExist (or ESRCH) means
// that there is no such process.
func Stat(pid int) (Proc, error) {
	data, err := fd.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Proc{}, err
	}
	return parseStat(data)
}

// parseStat takes the fields after the command name, which itself may contain
// anything, brackets and spaces included: the last ')' ends it.
func parseStat(data []byte) (Proc, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return Proc{}, errors.New("parse stat: no command name")
	}
	fields := bytes.Fields(data[end+1:])
	const state, start = 0, 22 - 3 // field numbers of proc(5) less 3, that of the first one here
	if len(fields) <= start || len(fields[state]) != 1 {
		return Proc{}, errors.New("parse stat: too few fields")
	}
	t, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return Proc{}, fmt.Errorf("parse stat: start time: %w", err)
	}
	return Proc{State: fields[state][0], StartTime: t}, nil
}

// Gone tells whether err means that a process has ended.
func Gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// Open returns a pidfd for the process that has the given pid and start time.
// It fails with ESRCH if that process is gone, even if its pid is in use again.
func Open(pid int, startTime uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	// The pidfd pins the pid: if the start time matches now, it is the right process.
	st, err := Stat(pid)
	if err == nil && st.StartTime != startTime || Gone(err) {
		err = unix.ESRCH
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return -1, err
	}
	return fd, nil
}

// WaitExit waits until the process behind pidfd has ended (it may be a zombie)
// and tells whether it did before timeout. A negative timeout waits for ever.
func WaitExit(pidfd int, timeout time.Duration) (bool, error) {
	return Poll(pidfd, unix.POLLIN, timeout)
}

// Poll waits for events on one descriptor; it tells whether any came before timeout.
func Poll(fd int, events int16, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		ms := -1
		if timeout >= 0 {
			ms = max(0, int((time.Until(deadline)+time.Millisecond-1)/time.Millisecond))
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		return n > 0, nil
	}
}

// OpenChild opens a child of this process that has not been reaped, by a number
// that somebody said: one who lies must not get at other processes through us.
func OpenChild(pid int) (Child, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Child{PidFD: -1}, fmt.Errorf("open process %d: %w", pid, err)
	}
	if err := unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		fd.Close(pidfd)
		return Child{PidFD: -1}, fmt.Errorf("open process %d: not a child: %w", pid, err)
	}
	return Child{Pid: pid, PidFD: pidfd}, nil
}
