package runtimecli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/tty"
	"github.com/gantry-run/gantry/internal/oci"
)

// forwarded are the signals that are meant for the program when they reach us.
// Each costs a system call at start, so those that nobody sends to a runtime
// are not among them.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
	unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR,
}

// catchSignals starts collecting signals, long before the child exists. A
// detaching run has no use for them.
func catchSignals(detach bool) chan os.Signal {
	if detach {
		return nil
	}
	signals := make(chan os.Signal, 64)
	go signal.Notify(signals, forwarded...) // on another CPU: it takes as long as reading the bundle
	return signals
}

// foreground waits for the process with its terminal, if it has one, connected
// to ours, and passes signals on. It returns the process's exit code. Signals
// go on being collected, and dropped: this process is about to end.
func (a *app) foreground(p *oci.Process, signals chan os.Signal) (int, error) {
	var terminal *session
	if p.Console != nil {
		var err error
		if terminal, err = a.openSession(p.Console); err != nil {
			return 1, err
		}
	}
	pidfd := int(p.PidFD.Fd())
	// It ends with this process; a signal to a pidfd whose process is gone is lost, as it should be.
	go forward(signals, pidfd, terminal)
	code, err := reap(p.Pid)
	if terminal != nil {
		err = errors.Join(err, terminal.close())
	}
	return code, err
}

// forward passes signals on.
func forward(signals <-chan os.Signal, pidfd int, terminal *session) {
	for s := range signals {
		sig, ok := s.(unix.Signal)
		switch {
		case !ok:
		case sig == unix.SIGWINCH:
			if terminal != nil {
				terminal.resize()
			}
		default:
			_ = unix.PidfdSendSignal(pidfd, sig, nil, 0) // it has just ended, which reap shows
		}
	}
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
