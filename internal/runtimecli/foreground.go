package runtimecli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/sigpipe"
	"github.com/gantry-run/gantry/internal/linux/tty"
	"github.com/gantry-run/gantry/internal/oci"
)

// forwarded are the signals that are meant for the program when they reach us.
// Each costs a system call at start, so those that nobody sends to a runtime
// are not among them.
var forwarded = []unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
	unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR,
}

// catchSignals starts collecting signals, before there is anything that they could
// end, but after the descriptors to preserve have been looked at, which its own must
// not be among. A detaching run has no use for them.
func catchSignals(detach bool) (*sigpipe.Pipe, error) {
	if detach {
		return nil, nil
	}
	return sigpipe.Catch(forwarded...)
}

// foreground waits for the process with its terminal, if it has one, connected
// to ours, and passes signals on. It returns the process's exit code. Signals
// go on being collected, and dropped: this process is about to end.
func (a *app) foreground(p *oci.Process, signals *sigpipe.Pipe) (int, error) {
	var terminal *session
	if p.Console != nil {
		var err error
		if terminal, err = a.openSession(p.Console); err != nil {
			return 1, err
		}
	}
	pidfd := int(p.PidFD.Fd())
	err := signals.WaitExit(pidfd, func(sig unix.Signal) {
		switch {
		case sig != unix.SIGWINCH:
			_ = unix.PidfdSendSignal(pidfd, sig, nil, 0) // it has just ended, which is seen next
		case terminal != nil:
			terminal.resize()
		}
	})
	code := 1
	if err == nil {
		code, err = reap(p.Pid)
	}
	if terminal != nil {
		err = errors.Join(err, terminal.close())
	}
	return code, err
}

// reap waits for a child and translates its status as shells do.
func reap(pid int) (int, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 1, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	}
}

// endTimeout bounds how long end waits: a process in uninterruptible sleep does
// not end before it wakes.
const endTimeout = 10 * time.Second

// end kills and reaps a process of which nobody would know that it runs.
func end(p *oci.Process) error {
	pidfd := int(p.PidFD.Fd())
	err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.Pid, err)
	}
	ended, err := ns.WaitExit(pidfd, endTimeout)
	if err == nil && !ended {
		err = errs.New(errs.Unavailable, "process %d does not end", p.Pid)
	}
	if err == nil {
		_, err = reap(p.Pid)
	}
	return err
}

// session connects our terminal with the container's.
type session struct {
	console *os.File
	restore func() error
	output  sync.WaitGroup
}

func (a *app) openSession(console *os.File) (*session, error) {
	s := &session{console: console, restore: func() error { return nil }}
	s.resize()
	if restore, err := tty.MakeRaw(int(a.stdin.Fd())); err == nil { // else it is no terminal
		s.restore = restore
	}
	// The reader of our standard input ends with the process: a read from a
	// terminal cannot be woken.
	go func() { _, _ = io.Copy(console, a.stdin) }()
	s.output.Go(func() { _, _ = io.Copy(a.stdout, console) }) // ends with EIO when the last slave is closed
	return s, nil
}

// resize gives the container's terminal the size of ours, if we have one.
func (s *session) resize() {
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(s.console.Fd()), unix.TIOCSWINSZ, size) // the old size stays
	}
}

func (s *session) close() error {
	s.output.Wait()
	return errors.Join(s.restore(), s.console.Close())
}
