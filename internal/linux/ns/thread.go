package ns

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// coarse is the slack of CoarseTimers in nanoseconds: 1 ms.
const coarse = "1000000"

// fine is the slack that the process was started with, 0 before CoarseTimers.
var fine atomic.Int64

// CoarseTimers lets the kernel delay the timers of this process's threads by up
// to a millisecond, those of children made by this package excepted; see
// PR_SET_TIMERSLACK in prctl(2). A long-living process calls it once, at start.
//
// The Go runtime watches its threads from one that sleeps 20 µs at a time while
// there is work, and with the usual slack of 50 µs really does wake that often:
// on a machine with two CPUs that took a tenth of an exec's time.
func CoarseTimers() error {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("read timer slack: %w", err)
	}
	fine.Store(int64(slack))
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, t := range threads { // later ones inherit it
		// The file belongs to processes, but a thread's id finds it as well.
		if err := fd.WriteFile("/proc/"+t.Name()+"/timerslack_ns", coarse); err != nil {
			return fmt.Errorf("set timer slack: %w", err)
		}
	}
	return nil
}

// maxCPUs is more than any kernel can have (CONFIG_NR_CPUS).
const maxCPUs = 8192

// RunOn restricts the calling thread and its children to CPUs, number n being bit
// n%64 of word n/64. No words are all CPUs, those included that the machine gets
// later: what the caller of the runtime was restricted to says nothing about a
// container, whose CPUs are those of its cgroup.
func RunOn(cpus []uint64) error {
	if len(cpus) == 0 {
		var all [maxCPUs / 64]uint64
		for i := range all {
			all[i] = ^uint64(0)
		}
		// Where it is forbidden the CPUs stay as they are.
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(all), uintptr(unsafe.Pointer(&all)))
		return nil
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(cpus)*8), uintptr(unsafe.Pointer(&cpus[0])))
	if errno != 0 {
		return fmt.Errorf("error setting CPU affinity: %w", errno)
	}
	return nil
}

// fineTimers undoes CoarseTimers for the calling thread and its children.
func fineTimers() {
	if slack := fine.Load(); slack > 0 {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) // it takes every number
	}
}
