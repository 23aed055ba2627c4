package supervisor

import (
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// orphanGrace is how long an ended child that nobody has claimed stays: a
// process that has just been forked is registered well within it.
const orphanGrace = time.Second

// orphans reaps what was reparented to the supervisor as the subreaper:
// processes of containers that share the host's pid namespace. It looks only
// after a SIGCHLD and takes only what is still unclaimed after orphanGrace.
func (r *reaper) orphans() {
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, unix.SIGCHLD)
	for range sigs {
		for {
			first := peekEnded()
			if first == 0 {
				break
			}
			time.Sleep(orphanGrace)
			if peekEnded() == first && !r.claimed(first) {
				_, _ = unix.Wait4(first, nil, unix.WNOHANG, nil) // its status interests nobody
			}
		}
	}
}

func (r *reaper) claimed(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.procs {
		if c.pid == pid {
			return true
		}
	}
	return false
}

// peekEnded gives the pid of an ended child without reaping it, 0 if there is none.
func peekEnded() int {
	// siginfo_t for SIGCHLD: si_signo, si_errno, si_code and padding, then si_pid.
	var info [128]byte
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(*(*int32)(unsafe.Pointer(&info[16])))
}
