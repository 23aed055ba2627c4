// Package pidone is the init of containers that are started with --init: it
// runs one program, passes signals on to it, reaps every orphan and ends with
// the program's exit code. It runs inside the container, from a read-only bind
// of the runtime's binary.
package pidone

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is the base name under which the runtime's binary acts as pid 1.
const Name = "docker-init"

// Main runs `docker-init -- program args…`. It returns the exit code: the
// program's own, 128+n for signal n, 127 or 126 if it cannot be started.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, Name+": no program given")
		return 1
	}
	signals := make(chan os.Signal, 64)
	// Before the fork, so that none gets lost; only those that are usual, since
	// each takes 0.1 ms. A program that awaits another one starts slower than that.
	signal.Notify(signals, unix.SIGCHLD, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGWINCH, unix.SIGCONT, unix.SIGTSTP, unix.SIGALRM)
	pid, err := start(args)
	go signal.Notify(signals)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Name, err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return 127
		}
		return 126
	}
	for s := range signals {
		sig := s.(syscall.Signal)
		if sig != unix.SIGCHLD {
			// SIGURG is also how the Go scheduler preempts; passing it on does no
			// harm, since its default action is to be ignored.
			_ = unix.Kill(pid, sig) // the program may have ended just now
			continue
		}
		if code, ended := reap(pid); ended {
			return code
		}
	}
	return 1
}

func start(args []string) (int, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	// A process group of its own, in the foreground where there is a terminal,
	// so that ^C reaches the program once.
	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	p, err := os.StartProcess(path, args, attr)
	if err != nil {
		return 0, err
	}
	pid := p.Pid
	return pid, p.Release() // reap waits for it, with all others
}

// reap collects all ended children and tells whether the program is among them.
func reap(program int) (code int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 || err != nil {
			return code, ended
		}
		if pid != program {
			continue
		}
		ended, code = true, ws.ExitStatus()
		if ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
	}
}
