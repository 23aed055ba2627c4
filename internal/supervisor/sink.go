package supervisor

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// maxQueue is how much of a running process's output waits for a client that is
// slow; with more, the process waits, as it would for a slow reader of its pipe.
const maxQueue = 64 << 10

// maxLate is how much waits for a client once the process has ended. It is more
// than what two pipes hold, each of the largest size that needs no privilege: so
// only processes that outlive the container, and write on, can exceed it.
const maxLate = 4 << 20

// patience is how long the rest of an ended process's output waits for a client
// that takes none of it. Nothing else waits meanwhile.
const patience = time.Hour

// sink is one attached client. What its socket does not take at once waits in a
// queue, which a goroutine empties that lives as long as there is something in it.
type sink struct {
	conn     *os.File
	want     wire.Attach
	patience time.Duration
	watched  chan struct{}  // closed when nobody watches it any more, see watch
	flushing sync.WaitGroup // the goroutine, or who will open; waited for by who serves the client

	mu    sync.Mutex
	room  chan struct{} // nil, or closed when the queue has become shorter or need not
	queue []byte
	busy  bool  // there is a goroutine, or the client has not been answered
	late  bool  // the process has ended: nobody waits for the client
	full  bool  // late, and more came than may wait
	last  bool  // nothing more will come
	err   error // why the client gets nothing any more
}

// newSink makes a sink that keeps output until it is opened, which it must be.
func newSink(conn *os.File, want wire.Attach) *sink {
	k := &sink{conn: conn, want: want, patience: patience, busy: true}
	k.flushing.Add(1)
	return k
}

// open lets output go to a client that has been answered.
func (k *sink) open() { go k.flush() }

// write sends p, a whole frame, to the client. While the process runs, it waits
// until no more than maxQueue is left to be sent.
func (k *sink) write(p []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.busy && k.err == nil {
		var n int
		n, k.err = k.try(p)
		p = p[n:]
	}
	k.full = k.full || k.late && len(k.queue)+len(p) > maxLate
	if k.err != nil || len(p) == 0 || k.full {
		return k.err
	}
	k.queue = append(k.queue, p...)
	if !k.busy {
		k.busy = true
		k.flushing.Add(1)
		go k.flush()
	}
	for len(k.queue) > maxQueue && !k.late && k.err == nil {
		k.wait()
	}
	return k.err
}

// wait lets go of the lock until the queue has changed.
func (k *sink) wait() {
	if k.room == nil {
		k.room = make(chan struct{})
	}
	room := k.room
	k.mu.Unlock()
	<-room
	k.mu.Lock()
}

// changed ends all waits.
func (k *sink) changed() {
	if k.room != nil {
		close(k.room)
		k.room = nil
	}
}

// try sends what the socket takes without waiting.
func (k *sink) try(p []byte) (n int, err error) {
	raw, err := k.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := raw.Control(func(fd uintptr) { n, err = unix.Write(int(fd), p) })
	if closed != nil {
		return 0, closed
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		err = nil
	}
	return max(n, 0), err
}

// flush sends the queue. It goes on after the end of the process, until the
// client has got all, is gone, or has lost the supervisor's patience.
func (k *sink) flush() {
	const piece = 32 << 10
	defer k.flushing.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.queue) > 0 && k.err == nil {
		if k.late {
			k.limit()
		}
		p := k.queue[:min(len(k.queue), piece)]
		k.mu.Unlock()
		n, err := k.conn.Write(p)
		k.mu.Lock()
		k.queue = k.queue[n:]
		if slow := n > 0 && errors.Is(err, os.ErrDeadlineExceeded); !slow && k.err == nil {
			k.err = err
		}
		k.changed()
	}
	k.queue, k.busy = nil, false
	if k.last || k.err != nil {
		_ = k.conn.Close() // the client has all that it will get
	}
}

func (k *sink) limit() { _ = k.conn.SetWriteDeadline(time.Now().Add(k.patience)) } // it fails if closed

// hurry is called when the process has ended: from now on nobody waits for the
// client, who gets the rest in its own time.
func (k *sink) hurry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.late = true
	if k.busy {
		k.limit()
	}
	k.changed()
}

// finish closes the connection once the client has got what is left.
func (k *sink) finish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = true
	if !k.busy {
		_ = k.conn.Close() // it has got all
	}
}

// close lets the client go at once, wherever it is.
func (k *sink) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = os.ErrClosed
	}
	k.changed()
	_ = k.conn.Close() // the client is gone or done
}

// waitHangup returns when the peer has closed its socket for good. A peer that
// only half-closed (no more stdin) still wants output.
func waitHangup(c *os.File) {
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
