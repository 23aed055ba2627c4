package stream

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// impatient is the number of interrupts after which the user wants out,
// whatever the container does with them. Docker's CLI has the same.
const impatient = 4

// usual are the signals that users and terminals send.
var usual = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM,
	unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH,
}

// settled is the age at which a client listens for the other signals, too.
// Notify takes 0.1 ms for each, and as long to undo it: for all 64 that was
// 12 ms, a quarter of `run --rm busybox true`.
const settled = 100 * time.Millisecond

// ForwardSignals calls send with the name of every signal that the process
// gets, in order, until stop is called; of those that are not usual, from 100 ms
// on. SIGCHLD and SIGPIPE are our own business, and SIGURG is how the Go runtime
// preempts its threads. giveUp is called when the user insists on leaving.
func ForwardSignals(send func(name string), giveUp func()) (stop func()) {
	ch := make(chan os.Signal, 128)
	names := make(chan string, 128)
	signal.Notify(ch, usual...)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-time.After(settled):
			signal.Notify(ch)
		case <-quit:
		}
	})
	wg.Go(func() {
		defer close(names)
		interrupts := 0
		for {
			select {
			case <-quit:
				return
			case s := <-ch:
				sig, ok := s.(unix.Signal)
				if !ok || sig == unix.SIGCHLD || sig == unix.SIGPIPE || sig == unix.SIGURG {
					continue
				}
				if sig == unix.SIGINT || sig == unix.SIGTERM {
					if interrupts++; interrupts == impatient {
						giveUp()
					}
				}
				if name := signalName(sig); name != "" {
					select {
					case names <- name:
					default: // send hangs; more of the same will not help
					}
				}
			}
		}
	})
	wg.Go(func() {
		for name := range names {
			send(name)
		}
	})
	return func() {
		close(quit)
		wg.Wait()
		signal.Stop(ch)
	}
}

// The range of real-time signals that programs see: the C library keeps two of
// the kernel's (signal(7)).
const rtMin, rtMax = unix.Signal(34), unix.Signal(64)

// signalName is a signal's name as the engine takes it.
func signalName(sig unix.Signal) string {
	switch {
	case sig == rtMin:
		return "RTMIN"
	case sig > rtMin && sig <= rtMax:
		return "RTMIN+" + strconv.Itoa(int(sig-rtMin))
	}
	return unix.SignalName(sig)
}

// FollowSize calls resize with the terminal's size now and whenever it
// changes, until ctx ends. Without a terminal it does nothing.
func (s *Stdio) FollowSize(ctx context.Context, resize func(height, width uint)) {
	if !s.OutIsTerminal() {
		return
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGWINCH)
	if h, w := s.Size(); h != 0 || w != 0 {
		resize(h, w)
	}
	go func() {
		defer signal.Stop(ch)
		for {
			select {
			case <-ctx.Done():
				return
			case <-ch:
				if h, w := s.Size(); h != 0 || w != 0 {
					resize(h, w)
				}
			}
		}
	}()
}

// RestoreOnDeath restores the terminal when a signal ends the process, so
// that a killed client does not leave the shell in raw mode.
func (s *Stdio) RestoreOnDeath() (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGTERM, unix.SIGHUP)
	quit := make(chan struct{})
	go func() {
		select {
		case sig := <-ch:
			s.Restore()
			os.Exit(128 + int(sig.(unix.Signal)))
		case <-quit:
		}
	}()
	return func() {
		signal.Stop(ch)
		close(quit)
	}
}
