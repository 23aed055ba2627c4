package supervisor

import (
	"os"
	"os/signal"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// orphanGrace is how long an ended child that nobody has claimed stays: a
// process that has just been forked is registered well within it, or reaped by
// who forked it.
const orphanGrace = time.Second

// orphans reaps what was reparented to the supervisor as the subreaper:
// processes of containers that share the host's pid namespace. It looks only
// after a SIGCHLD, and for what is still there a while later: mostly the reaper
// has been faster.
func (r *reaper) orphans() {
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, unix.SIGCHLD)
	for range sigs {
		var ended map[int]bool
		for hasEnded(unix.P_ALL, 0) {
			time.Sleep(orphanGrace)
			ended = r.reapOrphans(ended)
		}
	}
}

// reapOrphans takes all that had ended a grace ago, too, and that nobody has
// claimed. It gives those that have ended since; others may wait for them yet.
func (r *reaper) reapOrphans(before map[int]bool) (since map[int]bool) {
	since = map[int]bool{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return before // next time
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && hasEnded(unix.P_PID, pid) {
			since[pid] = true
		}
	}
	r.mu.Lock()
	for _, c := range r.procs { // after the look: what has been claimed meanwhile is
		delete(since, c.pid)
	}
	r.mu.Unlock()
	for pid := range since {
		if before[pid] {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // its status interests nobody
			delete(since, pid)
		}
	}
	return since
}

// hasEnded tells, without reaping it, whether a child has ended: that one or, with
// P_ALL, any. What is no child of ours has not.
func hasEnded(which, pid int) bool {
	// siginfo_t for SIGCHLD: si_signo, si_errno, si_code and padding, then si_pid.
	var info [128]byte
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, uintptr(which), uintptr(pid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	return errno == 0 && *(*int32)(unsafe.Pointer(&info[16])) != 0
}
