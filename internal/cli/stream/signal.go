package stream

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// ForwardSignals calls send with the name of every signal that the process
// gets, until stop is called. SIGCHLD and SIGPIPE are our own business, and
// SIGURG is how the Go runtime preempts its threads.
func ForwardSignals(send func(name string)) (stop func()) {
	ch := make(chan os.Signal, 128)
	signal.Notify(ch)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range ch {
			switch s {
			case unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG:
				continue
			}
			if sig, ok := s.(unix.Signal); ok {
				if name := unix.SignalName(sig); name != "" {
					send(name)
				}
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-done
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
