package stream

import (
	"context"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// impatient is the number of interrupts after which the user wants out,
// whatever the container does with them. Docker's CLI has the same.
const impatient = 4

// ForwardSignals calls send with the name of every signal that the process
// gets, in order, until stop is called. SIGCHLD and SIGPIPE are our own
// business, and SIGURG is how the Go runtime preempts its threads. giveUp is
// called when the user insists on leaving.
func ForwardSignals(send func(name string), giveUp func()) (stop func()) {
	ch := make(chan os.Signal, 128)
	names := make(chan string, 128)
	signal.Notify(ch)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(names)
		interrupts := 0
		for s := range ch {
			sig, ok := s.(unix.Signal)
			if !ok || sig == unix.SIGCHLD || sig == unix.SIGPIPE || sig == unix.SIGURG {
				continue
			}
			if sig == unix.SIGINT || sig == unix.SIGTERM {
				if interrupts++; interrupts == impatient {
					giveUp()
				}
			}
			if name := unix.SignalName(sig); name != "" {
				select {
				case names <- name:
				default: // send hangs; more of the same will not help
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
		signal.Stop(ch)
		close(ch)
		wg.Wait()
	}
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
