// Package sigpipe catches signals by writing their numbers to a pipe, one byte each:
// what os/signal does with two changes of threads for each kind of signal that is
// asked for, 0.5 ms for those that users send, takes one system call for each here.
// That is for programs that live for milliseconds; others use os/signal.
//
// A signal belongs to one of the two. What os/signal alone can do is left to it:
// SIGPIPE, of which package os decides, SIGURG, with which the Go runtime preempts,
// and what the kernel sends for a program's own faults.
package sigpipe

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ours is the pipe of the process. It stays: a handler may be about to write to it.
var ours = sync.OnceValues(func() (*os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("create pipe for signals: %w", err)
	}
	writeEnd = int32(ends[1])
	return os.NewFile(uintptr(ends[0]), "signals"), nil
})

// Pipe is where caught signals come out, in their order. One that comes when 65536
// have not been taken is lost. Who takes them is one goroutine at a time.
type Pipe struct {
	file   *os.File
	before map[unix.Signal]action
}

// Catch catches signals until Release, those that are ignored too. One Pipe is in use
// at a time.
func Catch(signals ...unix.Signal) (*Pipe, error) {
	f, err := ours()
	if err != nil {
		return nil, err
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("catch signals: %w", err)
	}
	p := &Pipe{file: f, before: make(map[unix.Signal]action, len(signals))}
	caught := handler()
	for _, s := range signals {
		before, err := caught.set(s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("catch signal %d: %w", s, err), p.Release())
		}
		p.before[s] = before
	}
	return p, nil
}

// Release lets the signals be what they were before, and ends Wait. What has not been
// taken is lost.
func (p *Pipe) Release() error {
	errs := p.file.SetReadDeadline(time.Unix(1, 0))
	for s, a := range p.before {
		if _, err := a.set(s); err != nil {
			errs = errors.Join(errs, fmt.Errorf("let go of signal %d: %w", s, err))
		}
	}
	p.before = nil
	for _, ok := p.next(); ok; _, ok = p.next() {
	}
	return errs
}

// Wait gives the next signal. It fails with os.ErrDeadlineExceeded after Release.
func (p *Pipe) Wait() (unix.Signal, error) {
	var b [1]byte
	_, err := p.file.Read(b[:])
	return unix.Signal(b[0]), err
}

// next gives the next signal that has come, if there is one.
func (p *Pipe) next() (unix.Signal, bool) {
	var b [1]byte
	n := 0
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), b[:]) })
	}
	return unix.Signal(b[0]), err == nil && n == 1
}

// WaitExit waits until the process of a pidfd has ended, and passes on to forward the
// signals that come meanwhile. A nil Pipe has none.
func (p *Pipe) WaitExit(pidfd int, forward func(unix.Signal)) error {
	if p == nil {
		return wait([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}})
	}
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var closed error
	err = raw.Control(func(fd uintptr) {
		ready := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLIN}}
		for closed == nil && ready[0].Revents == 0 {
			closed = wait(ready)
			for s, ok := p.next(); ok && ready[0].Revents == 0; s, ok = p.next() {
				forward(s)
			}
		}
	})
	return errors.Join(err, closed)
}

func wait(ready []unix.PollFd) error {
	for {
		_, err := unix.Poll(ready, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for process: %w", err)
		}
		return nil
	}
}
