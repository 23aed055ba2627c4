// Package repeat is how a process that waits beside a container is told to run a
// program in it once more, and how what came of it is read. The process belongs to
// package oci/boot, which writes it; who tells it may be another program.
//
// Each run takes one message in each direction. The process does all the rest: it
// forks, waits for its child, and kills the child's process group when its time is
// up, even if nobody is left who could hear of it.
package repeat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The messages. Each is one byte; a wait status of four bytes in the machine's
// order comes behind Ended. See package fd for what may come behind Failed.
const (
	Go     = 'G' // to the process, with the end of a pipe for what its child writes
	Ended  = 'D' // from it: the child has ended
	Late   = 'T' // from it: the child was killed, its time was up; the process ends
	Failed = 'X' // from it or its child: it never became the program
)

// EndedSize is the size of an Ended.
const EndedSize = 5

// ErrUseless says that the process cannot be told anything any more, and that the
// program may not have run.
var ErrUseless = errors.New("the process that repeats cannot go on")

// long is the time after which a child's output is read while it runs. Before, it
// stays in the pipe, which holds 64 KiB, and costs nobody a wake-up.
const long = 100 * time.Millisecond

// drainGrace is how long output of processes that a child has left behind is
// waited for.
const drainGrace = 2 * time.Second

// Process is a process that repeats. Its methods must not run at the same time.
type Process struct {
	sock *os.File
	fd   int // of sock, which File.Fd would make blocking
}

// New takes over the socket that leads to a process.
func New(sock int) (*Process, error) {
	if err := unix.SetNonblock(sock, true); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare socket of process that repeats: %w", err), unix.Close(sock))
	}
	return &Process{sock: os.NewFile(uintptr(sock), "repeat"), fd: sock}, nil
}

// Close lets the process end, after what it is about.
func (p *Process) Close() error { return p.sock.Close() }

// Result is what came of a run.
type Result struct {
	Code      int    // 128+n for signal n
	Late      bool   // it was killed, its time was up
	Output    string // the first bytes of standard output and error together
	Truncated bool   // there was more
}

// Run runs the program to its end and keeps the first limit bytes of its output.
// After an error the process is of no use any more, see ErrUseless, nor is it
// after a Late.
func (p *Process) Run(ctx context.Context, limit int) (Result, error) {
	pipe, err := p.tell()
	if err != nil {
		return Result{}, err
	}
	o := &output{fd: pipe, limit: limit}
	defer o.close()
	stop := context.AfterFunc(ctx, func() { _ = p.sock.SetReadDeadline(time.Now()) })
	defer stop()
	var msg [EndedSize]byte
	n, err := p.await(ctx, msg[:], o)
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case err != nil:
		return Result{}, fmt.Errorf("%w: %w", ErrUseless, err)
	}
	var res Result
	switch {
	case msg[0] == Ended && n == EndedSize:
		res.Code = exitCode(msg[1:])
	case msg[0] == Late:
		res.Late = true
	default:
		return Result{}, ErrUseless
	}
	res.Output, res.Truncated = o.rest()
	return res, nil
}

// tell sends a Go and gives our end of the pipe.
func (p *Process) tell() (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("create pipe for output: %w", err)
	}
	defer unix.Close(pipe[1]) //nolint:errcheck // nothing was written to it
	_, err := unix.FcntlInt(uintptr(pipe[0]), unix.F_SETFL, unix.O_NONBLOCK)
	if err == nil {
		err = unix.Sendmsg(p.fd, []byte{Go}, unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
	}
	if err != nil {
		_ = unix.Close(pipe[0]) // nothing will come
		return -1, fmt.Errorf("%w: %w", ErrUseless, err)
	}
	return pipe[0], nil
}

// await reads the answer.
func (p *Process) await(ctx context.Context, msg []byte, o *output) (int, error) {
	// A deadline that has passed when nobody reads would wake us for nothing.
	defer p.sock.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	if err := p.sock.SetReadDeadline(time.Now().Add(long)); err != nil {
		return 0, err
	}
	n, err := p.sock.Read(msg)
	if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return n, err
	}
	o.follow()
	if err := p.sock.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	if ctx.Err() != nil { // what it did to the deadline is undone
		return 0, ctx.Err()
	}
	return p.sock.Read(msg)
}

func exitCode(word []byte) int {
	ws := unix.WaitStatus(binary.NativeEndian.Uint32(word))
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// output is what is read from a pipe. The end that is ours does not block.
type output struct {
	fd    int // -1: file has it
	limit int
	kept  []byte
	more  bool
	file  *os.File      // not nil: the pipe, with the Go poller
	ended chan struct{} // not nil: closed when the file's reader has ended
}

// follow begins to read while the child runs.
func (o *output) follow() {
	o.file, o.fd = os.NewFile(uintptr(o.fd), "|0"), -1
	o.ended = make(chan struct{})
	go func() {
		defer close(o.ended)
		o.read()
	}()
}

// rest reads to the end. What a process that the child has left behind goes on
// writing is not waited for.
func (o *output) rest() (kept string, truncated bool) {
	if o.file == nil && !o.take() {
		o.follow()
	}
	if o.file != nil {
		_ = o.file.SetReadDeadline(time.Now().Add(drainGrace)) // it has a poller
		<-o.ended
	}
	return string(o.kept), o.more
}

// take reads what is there and tells whether that was all.
func (o *output) take() bool {
	var buf [512]byte
	for {
		n, err := unix.Read(o.fd, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil || n == 0:
			return true
		default:
			o.keep(buf[:n])
		}
	}
}

// read reads to the end, or to the deadline.
func (o *output) read() {
	buf := make([]byte, 4096)
	for {
		n, err := o.file.Read(buf)
		o.keep(buf[:n])
		if err != nil {
			o.more = o.more || !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded)
			return
		}
	}
}

func (o *output) keep(data []byte) {
	n := min(len(data), o.limit-len(o.kept))
	o.kept = append(o.kept, data[:n]...)
	o.more = o.more || n < len(data)
}

func (o *output) close() {
	if o.file == nil {
		_ = unix.Close(o.fd) // read only
		return
	}
	_ = o.file.Close() // ends its reader
	<-o.ended
}
