package supervisor

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Stream numbers of Docker's multiplexed format (Engine API, ContainerAttach).
const (
	stdout byte = 1
	stderr byte = 2
)

var streamNames = [...]string{stdout: "stdout", stderr: "stderr"}

// streams are the standard streams of one process: what it writes goes to the
// log and to every attached client, what clients send goes to its stdin.
type streams struct {
	tty       bool
	stdinOnce bool
	// onStdinClosed tells the daemon, which has parked a copy. It is called without
	// the lock: it takes the server's, which comes first.
	onStdinClosed func()
	ready         chan struct{} // closed when an exec's first client is attached

	pumps   sync.WaitGroup
	flows   sync.WaitGroup // pumps with output that counts
	clients sync.WaitGroup

	mu             sync.Mutex
	stdin          *os.File // pipe or terminal master; nil: /dev/null or closed
	stdout, stderr *os.File // pipes, read by the pumps; nil with a terminal
	outSpool       *spool   // of stdout and stderr; nil with a terminal and for an exec
	errSpool       *spool
	sinks          []*sink
	late           bool // the process has ended, see sink
	ended          bool // all output has been delivered
}

// deliver writes frame (8 bytes of room, then data) to the attached clients.
func (s *streams) deliver(stream byte, frame []byte) {
	s.mu.Lock()
	sinks := slices.Clone(s.sinks)
	s.mu.Unlock()
	if len(sinks) == 0 {
		return
	}
	data := frame[8:]
	if !s.tty {
		clear(frame[:8])
		frame[0] = stream
		binary.BigEndian.PutUint32(frame[4:8], uint32(len(data)))
		data = frame
	}
	for _, k := range sinks {
		if stream == stdout && !k.want.Stdout || stream == stderr && !k.want.Stderr {
			continue
		}
		if k.write(data) != nil {
			s.detach(k)
		}
	}
}

// attach adds a client. It returns false when the process's output has ended.
func (s *streams) attach(k *sink) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if s.late {
		k.hurry()
	}
	s.sinks = append(s.sinks, k)
	s.clients.Go(func() { s.serve(k) })
	return true
}

func (s *streams) detach(k *sink) {
	s.mu.Lock()
	if i := slices.Index(s.sinks, k); i >= 0 {
		s.sinks = slices.Delete(s.sinks, i, i+1)
	}
	s.mu.Unlock()
	k.close()
}

// serve copies what the client sends to stdin, then waits until the client is
// gone. It ends when either side closes the connection.
func (s *streams) serve(k *sink) {
	s.mu.Lock()
	in := s.stdin
	s.mu.Unlock()
	if in != nil && k.want.Stdin {
		_, _ = io.Copy(onlyWriter{in}, k.conn) // either end may go at any time
		if s.stdinOnce && !s.tty {
			s.closeStdin()
		}
	}
	waitHangup(k.conn)
	s.detach(k)
	k.flushing.Wait()
}

// onlyWriter hides ReadFrom: os.File would splice, which blocks a thread on a
// full pipe instead of waiting in the poller.
type onlyWriter struct{ io.Writer }

func (s *streams) closeStdin() {
	s.mu.Lock()
	if s.stdin == nil || s.tty {
		s.mu.Unlock()
		return
	}
	_ = s.stdin.Close() // nothing is buffered
	s.stdin = nil
	s.mu.Unlock()
	if s.onStdinClosed != nil {
		s.onStdinClosed()
	}
}

// finish is called when the output has ended: every client is let go, a slow one
// when it has got the rest.
func (s *streams) finish() {
	s.closeStdin()
	s.mu.Lock()
	sinks := s.sinks
	s.sinks, s.ended = nil, true
	master := s.stdin
	s.stdin = nil
	s.mu.Unlock()
	if master != nil {
		_ = master.Close()
	}
	for _, k := range sinks {
		k.finish()
	}
	go s.closeOutput()
}

// closeOutput closes our ends once nobody reads them any more. Until the end of
// the process they stay open even if it has closed its own: the daemon may ask
// for them. The last client's end is the end of the streams.
func (s *streams) closeOutput() {
	s.pumps.Wait()
	closeAll(s.stdout, s.stderr)
	s.outSpool.close()
	s.errSpool.close()
	s.clients.Wait()
}

// resize sets the terminal's size; without a terminal there is nothing to do.
func (s *streams) resize(height, width uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty || s.stdin == nil {
		return nil
	}
	raw, err := s.stdin.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return errors.Join(err, ioctlErr)
}
