package stream

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/sigpipe"
)

// impatient is the number of interrupts after which the user wants out,
// whatever the container does with them. Docker's CLI has the same.
const impatient = 4

// faults are the signals that the Go runtime takes for a fault of the program, unless
// package os/signal is asked for them.
var faults = []os.Signal{
	unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS,
}

// settled is the age at which a client listens for faults, too, which takes 0.1 ms for
// each and is for few.
const settled = 100 * time.Millisecond

// usual are all signals but the faults, SIGCHLD and SIGPIPE, which are our own business,
// and SIGURG and SIGPROF, which the Go runtime sends to its threads.
func usual(tty bool) []unix.Signal {
	signals := []unix.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM, unix.SIGSTKFLT,
		unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM,
		unix.SIGIO, unix.SIGPWR,
	}
	if !tty {
		signals = append(signals, unix.SIGWINCH)
	}
	for s := rtMin; s <= rtMax; s++ {
		signals = append(signals, s)
	}
	return signals
}

// ForwardSignals calls send with the name of every signal that the process gets, in
// order, until stop is called; of faults, from 100 ms on. With a terminal SIGWINCH is
// not among them: it is FollowSize's. giveUp is called when the user insists on leaving.
func ForwardSignals(tty bool, send func(name string), giveUp func()) (stop func(), err error) {
	signals, err := sigpipe.Catch(usual(tty)...)
	if err != nil {
		return nil, err
	}
	names := make(chan string, 128)
	deliver := func(sig unix.Signal) {
		if name := signalName(sig); name != "" {
			select {
			case names <- name:
			default: // send hangs; more of the same will not help
			}
		}
	}
	quit := make(chan struct{})
	var catching, sending sync.WaitGroup
	catching.Go(func() { forwardUsual(signals, deliver, giveUp) })
	catching.Go(func() { forwardFaults(deliver, time.After(settled), quit) })
	sending.Go(func() {
		for name := range names {
			send(name)
		}
	})
	return func() {
		close(quit)
		_ = signals.Release() // the kernel takes back what it has given
		catching.Wait()
		close(names)
		sending.Wait()
	}, nil
}

// forwardUsual delivers signals until they are released.
func forwardUsual(signals *sigpipe.Pipe, deliver func(unix.Signal), giveUp func()) {
	interrupts := 0
	for {
		sig, err := signals.Wait()
		if err != nil {
			return
		}
		if sig == unix.SIGINT || sig == unix.SIGTERM {
			if interrupts++; interrupts == impatient {
				giveUp()
			}
		}
		deliver(sig)
	}
}

// forwardFaults delivers faults that come after later until quit is closed. All the
// time a write to a pipe without a reader is an error, not the end.
func forwardFaults(deliver func(unix.Signal), later <-chan time.Time, quit <-chan struct{}) {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGPIPE)
	defer signal.Stop(ch)
	for {
		select {
		case <-quit:
			return
		case <-later:
			signal.Notify(ch, faults...)
		case s := <-ch:
			if sig, ok := s.(unix.Signal); ok && sig != unix.SIGPIPE {
				deliver(sig)
			}
		}
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
