package supervisor

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 8+32<<10); return &b }}

// pump copies what the process writes to f until the end. A full log disk or a
// dead client does not stop it: the process must never block on us for good.
// What comes after the end of the process, from others that have got the pipe,
// goes nowhere.
func (s *streams) pump(stream byte, f *os.File, l *lines, onLogError func(error)) {
	defer s.pumps.Done()
	raw, err := f.SyscallConn()
	if err == nil {
		s.copyOut(stream, f, raw, l, firstError(onLogError))
	}
	s.flows.Done()
	_, _ = io.Copy(io.Discard, f)
}

// copyOut returns at the end of the stream, or when drain tells it to: then it
// has copied what was there.
func (s *streams) copyOut(stream byte, f *os.File, raw syscall.RawConn, l *lines, check func(error)) {
	if l != nil {
		check(l.replay())
		defer func() { check(l.flush()) }()
	}
	told, n := false, 0
	pass := func(fd uintptr) bool {
		var err error
		n, err = s.pass(stream, int(fd), l, check)
		return told || !errors.Is(err, unix.EAGAIN)
	}
	for rest := maxLate; rest > 0; {
		switch err := raw.Read(pass); {
		case errors.Is(err, os.ErrDeadlineExceeded) && !told:
			told = true
			_ = f.SetReadDeadline(time.Time{}) // if it fails, so does the next read
		case err != nil || n <= 0: // EIO is how a terminal's master says that the last slave is closed
			return
		case told:
			rest -= n
		}
	}
}

// pass copies what can be read at once. The buffer is taken only when there is
// something to read, so that an idle container costs none.
func (s *streams) pass(stream byte, fd int, l *lines, check func(error)) (int, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := l.take(fd, (*buf)[8:])
	if n <= 0 {
		return n, err
	}
	if l != nil {
		check(l.write((*buf)[8 : 8+n]))
	}
	s.deliver(stream, (*buf)[:8+n])
	return n, nil
}

// firstError reports the first of several errors in a row: a full disk fails
// every write, and the report goes to a disk, too.
func firstError(report func(error)) func(error) {
	failing := false
	return func(err error) {
		if err != nil && !failing {
			report(err)
		}
		failing = err != nil
	}
}

// take reads from a stream, by way of the spool if there is one. Without memory
// for it, output flows as well, just not safe from a kill.
func (l *lines) take(fd int, p []byte) (int, error) {
	if l == nil || l.spool == nil {
		return readRetry(fd, p)
	}
	n, err := l.spool.take(fd, p)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		l.spool = nil
		return readRetry(fd, p)
	}
	return n, err
}

func readRetry(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// drain is called when the process has ended. It returns when all that the process
// has written is in the log and on its way to the clients. Output that others
// write counts for drainGrace at most; a slow client does not.
func (s *streams) drain() {
	s.mu.Lock()
	s.late = true
	sinks, outputs := slices.Clone(s.sinks), []*os.File{s.stdout, s.stderr}
	if s.tty {
		outputs = []*os.File{s.stdin}
	}
	s.mu.Unlock()
	for _, k := range sinks {
		k.hurry()
	}
	ended := make(chan struct{})
	go func() { s.flows.Wait(); close(ended) }()
	t := time.NewTimer(drainGrace)
	defer t.Stop()
	select {
	case <-ended:
		return
	case <-t.C:
	}
	for _, f := range outputs {
		if f != nil && errors.Is(f.SetReadDeadline(time.Now()), os.ErrNoDeadline) {
			return // nothing wakes its pump
		}
	}
	<-ended
}
