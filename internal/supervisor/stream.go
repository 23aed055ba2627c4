package supervisor

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
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
	// onStdinClosed tells the daemon, which has parked a copy; it must not block.
	onStdinClosed func()
	ready         chan struct{} // closed when an exec's first client is attached

	pumps sync.WaitGroup

	mu             sync.Mutex
	stdin          *os.File // pipe or terminal master; nil: /dev/null or closed
	stdout, stderr *os.File // pipes, read by the pumps; nil with a terminal
	outSpool       *spool   // of stdout and stderr; nil with a terminal and for an exec
	errSpool       *spool
	sinks          []*sink
	ended          bool // all output has been delivered
}

// sink is one attached client.
type sink struct {
	conn *net.UnixConn
	want wire.Attach

	mu sync.Mutex // one frame at a time
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
		k.mu.Lock()
		_, err := k.conn.Write(data)
		k.mu.Unlock()
		if err != nil {
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
	s.sinks = append(s.sinks, k)
	go s.serve(k)
	return true
}

func (s *streams) detach(k *sink) {
	s.mu.Lock()
	if i := slices.Index(s.sinks, k); i >= 0 {
		s.sinks = slices.Delete(s.sinks, i, i+1)
	}
	s.mu.Unlock()
	_ = k.conn.Close() // the client is gone or done
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
}

// onlyWriter hides ReadFrom: os.File would splice, which blocks a thread on a
// full pipe instead of waiting in the poller.
type onlyWriter struct{ io.Writer }

func (s *streams) closeStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin == nil || s.tty {
		return
	}
	_ = s.stdin.Close() // nothing is buffered
	s.stdin = nil
	if s.onStdinClosed != nil {
		s.onStdinClosed()
	}
}

// finish is called when the output has ended: every client is let go.
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
	go s.closeOutput()
	for _, k := range sinks {
		_ = k.conn.Close()
	}
}

// closeOutput closes our ends once nobody reads them any more. Until the end of
// the process they stay open even if it has closed its own: the daemon may ask
// for them.
func (s *streams) closeOutput() {
	s.pumps.Wait()
	closeAll(s.stdout, s.stderr)
	s.outSpool.close()
	s.errSpool.close()
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

// waitHangup returns when the peer has closed its socket for good. A peer that
// only half-closed (no more stdin) still wants output.
func waitHangup(c *net.UnixConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		var drop [512]byte
		for { // bytes that nobody wants must not hide the end
			n, _, err := unix.Recvfrom(int(fd), drop[:], unix.MSG_DONTWAIT)
			if n <= 0 || err != nil {
				if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
					return true
				}
				break
			}
		}
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, _ = unix.Poll(p, 0)
		return p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
}
