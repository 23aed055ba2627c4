package supervisor

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 8+32<<10); return &b }}

// pump copies what the process writes to f until the end. A full log disk or a
// dead client does not stop it: the process must never block on us for good.
// The buffer is taken only when there is something to read, so that an idle
// container costs none.
func (s *streams) pump(stream byte, f *os.File, l *lines, onLogError func(error)) {
	defer s.pumps.Done()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	check := firstError(onLogError)
	if l != nil {
		check(l.replay())
	}
	for {
		eof := false
		err := raw.Read(func(fd uintptr) bool {
			buf := buffers.Get().(*[]byte)
			defer buffers.Put(buf)
			n, err := l.take(int(fd), (*buf)[8:])
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			if n <= 0 { // EIO is how a terminal's master says that the last slave is closed
				eof = true
				return true
			}
			if l != nil {
				check(l.write((*buf)[8 : 8+n]))
			}
			s.deliver(stream, (*buf)[:8+n])
			return true
		})
		if err != nil || eof {
			break
		}
	}
	if l != nil {
		check(l.flush())
	}
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

// drain waits for the end of the output, at most drainGrace.
func (s *streams) drain() {
	ended := make(chan struct{})
	go func() { s.pumps.Wait(); close(ended) }()
	t := time.NewTimer(drainGrace)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
}
