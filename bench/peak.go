package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// peakMemory runs a command and gives the most memory (kB, VmHWM of proc(5)) that
// its first process ever had resident. The kernel's accounting of ended children
// is no good for that: it begins with the memory of whoever forked them. So the
// process is traced, and looked at when it is about to exit.
func peakMemory(cmd *exec.Cmd) (kb int, err error) {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil { // stopped by its exec
		return 0, err
	}
	const traceExit, eventExit = 0x40, 6 // PTRACE_O_TRACEEXIT, PTRACE_EVENT_EXIT
	if err := syscall.PtraceSetOptions(pid, traceExit); err != nil {
		return 0, err
	}
	for signal := 0; ; {
		if err := syscall.PtraceCont(pid, signal); err != nil {
			return 0, err
		}
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return 0, err
		}
		signal = 0
		switch {
		case status.Exited() || status.Signaled():
			if status.ExitStatus() != 0 {
				return 0, fmt.Errorf("%v: exit status %d", cmd.Args, status.ExitStatus())
			}
			return kb, nil
		case status.StopSignal() == syscall.SIGTRAP && status.TrapCause() == eventExit:
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return 0, err
			}
			kb = field(data, "VmHWM:")
		case status.StopSignal() != syscall.SIGTRAP:
			signal = int(status.StopSignal())
		}
	}
}
