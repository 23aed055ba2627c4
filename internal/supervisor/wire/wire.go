// Package wire is the protocol between the daemon and the supervisor: frames of
// JSON over a unix stream socket, with file descriptors beside them.
//
// A connection carries one call: a Request frame, a Response frame. Three calls
// go on after the response: attach and an attached exec turn the connection into
// the process's standard streams, and watch turns it into a stream of Event
// frames. Nothing else belongs here; both sides are tested against each other in
// package supervisor.
package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// Op names a call.
type Op string

// The calls. Their arguments are the Request fields named in the comments.
const (
	OpPing     Op = "ping"
	OpStart    Op = "start"    // ID, Start; fds: the network namespace if Start.Netns; answers with parked fds
	OpPark     Op = "park"     // ID; answers with the container's parked fds
	OpAdopt    Op = "adopt"    // ID, Start without Spec; fds: what was parked, if anything
	OpExec     Op = "exec"     // ID, ExecID, Exec, Attach if attached
	OpProbe    Op = "probe"    // ID, Probe; answers when the process has ended
	OpRepeat   Op = "repeat"   // ID, Probe; answers with the socket of a process that runs it again and again, see linux/repeat
	OpAttach   Op = "attach"   // ID, Attach; may come before start
	OpSignal   Op = "signal"   // ID, Signal, All
	OpResize   Op = "resize"   // ID, ExecID, Height, Width
	OpPause    Op = "pause"    // ID
	OpResume   Op = "resume"   // ID
	OpUpdate   Op = "update"   // ID, Resources
	OpCgroup   Op = "cgroup"   // ID
	OpPids     Op = "pids"     // ID
	OpDump     Op = "dump"     // ID, Dump; answers when the checkpoint is whole
	OpForget   Op = "forget"   // ID: the daemon has recorded the exit; All: and removed the container
	OpWatch    Op = "watch"    // Response.Containers, then events
	OpShutdown Op = "shutdown" // ends the supervisor if it has no containers
)

// Mount is a mount that the container's init performs, see oci.RootfsMount.
type Mount struct {
	Type, Source string
	Options      []string
}

// Log says where and how a container's output is logged. An empty Path logs nothing.
type Log struct {
	Path     string
	MaxSize  int64             // bytes, 0: unlimited
	MaxFile  int               // files including the current one
	Compress bool              // gzip rotated files
	Attrs    map[string]string `json:",omitempty"`
}

// Start describes a container to run.
type Start struct {
	Bundle    string          // directory of the container
	Spec      json.RawMessage // runtime-spec config
	User      User            // resolved in the container
	Rootfs    []Mount
	Systemd   bool `json:",omitempty"` // systemd makes the cgroup, see oci.Options
	Netns     bool // the request carries the namespace's descriptor
	OpenStdin bool
	StdinOnce bool // close stdin when the first attached client leaves
	TTY       bool
	Log       Log
	Restore   string `json:",omitempty"` // the directory of a checkpoint that is run instead of the spec's program
}

// Dump describes a checkpoint to make.
type Dump struct {
	// Dir does not exist and is there afterwards, its parent does. Nothing but root
	// may have to do with it.
	Dir          string
	Config       json.RawMessage // of config.json there
	LeaveRunning bool
}

// unfinishedMark is what the names of unfinished checkpoints have and no checkpoint's.
const unfinishedMark = ".unfinished-"

// Unfinished is how the name of the directory begins in which a checkpoint is
// written until it is whole. It lies where the checkpoint is to be.
func Unfinished(checkpoint string) string { return "." + checkpoint + unfinishedMark }

// IsUnfinished tells whether a directory has such a name.
func IsUnfinished(name string) bool {
	return strings.HasPrefix(name, ".") && strings.Contains(name, unfinishedMark)
}

// User is a user in Docker's notation, see oci.NamedUser.
type User struct {
	Name   string
	Groups []string `json:",omitempty"`
}

// Exec describes an additional process.
type Exec struct {
	Process   json.RawMessage // runtime-spec process
	User      User
	OpenStdin bool
	TTY       bool
	Attached  bool // the connection becomes the process's streams
}

// Probe describes an additional process without streams, attached clients and
// events that runs to its end, within a call or whenever it is told to.
type Probe struct {
	Process   json.RawMessage // runtime-spec process, without a terminal
	User      User
	Timeout   time.Duration // after which its process group is killed
	MaxOutput int           // bytes kept of what it writes
}

// Probed is how a probe ended.
type Probed struct {
	Code      int    // 128+n for signal n
	Output    string // the first bytes of standard output and error together
	Truncated bool   // there was more
	TimedOut  bool
}

// Prober runs one probe whenever it is called; see client.Prober.
type Prober interface {
	Probe(ctx context.Context) (Probed, error)
	Close()
}

// Attach selects streams.
type Attach struct {
	Stdin, Stdout, Stderr bool
}

// Request is what the daemon sends.
type Request struct {
	Op            Op
	ID            string          `json:",omitempty"`
	ExecID        string          `json:",omitempty"`
	Start         *Start          `json:",omitempty"`
	Exec          *Exec           `json:",omitempty"`
	Probe         *Probe          `json:",omitempty"`
	Dump          *Dump           `json:",omitempty"`
	Attach        *Attach         `json:",omitempty"`
	Signal        int             `json:",omitempty"`
	All           bool            `json:",omitempty"`
	Height, Width uint16          `json:",omitempty"`
	Resources     json.RawMessage `json:",omitempty"`
}

// Container is a container that the supervisor knows.
type Container struct {
	ID        string
	Pid       int
	StartedAt time.Time
	Paused    bool
	Exit      *Exit    `json:",omitempty"` // nil while it runs
	Execs     []string `json:",omitempty"` // running execs
}

// Exit tells how a process ended.
type Exit struct {
	Code      int // 128+n for signal n
	At        time.Time
	OOMKilled bool
	Unknown   bool // the supervisor was not there to see it; Code is 255
	Dumped    bool `json:",omitempty"` // a checkpoint was to end it, so it is no failure
}

// Response is what the supervisor answers.
type Response struct {
	Error      *Error          `json:",omitempty"`
	Pid        int             `json:",omitempty"`
	Pids       []int           `json:",omitempty"`
	Cgroup     json.RawMessage `json:",omitempty"` // linux/cgroup Group
	Containers []Container     `json:",omitempty"`
	Probed     *Probed         `json:",omitempty"`
	Busy       bool            `json:",omitempty"` // shutdown refused
}

// Event tells of the end of a container's init or of an exec, or that a
// container's stdin was closed: then the parked copy must be closed as well.
type Event struct {
	ID          string
	ExecID      string `json:",omitempty"`
	StdinClosed bool   `json:",omitempty"`
	Exit        Exit
}

// ParkedStdin is the index of stdin among the parked descriptors of a container
// without a terminal.
const ParkedStdin = 4

// Error carries an error's kind over the wire.
type Error struct {
	Kind    errs.Kind
	Message string
	Program bool // the container's program could not be started (exit code 126 or 127)
	User    bool // the user or a group is not there
}

// ProgramError marks an error that the user's command line, not the engine, caused.
type ProgramError struct{ Err error }

func (e *ProgramError) Error() string { return e.Err.Error() }
func (e *ProgramError) Unwrap() error { return e.Err }

// UserError marks an error that the user or a group of the command line caused.
type UserError struct{ Err error }

func (e *UserError) Error() string { return e.Err.Error() }
func (e *UserError) Unwrap() error { return e.Err }

// Err turns the wire form back into an error.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	err := errs.New(e.Kind, "%s", e.Message)
	switch {
	case e.Program:
		return &ProgramError{Err: err}
	case e.User:
		return &UserError{Err: err}
	}
	return err
}

// maxFrame bounds a frame: a spec with a large seccomp profile is below 1 MiB.
const maxFrame = 16 << 20

// maxFDs bounds the descriptors in one frame.
const maxFDs = 8

// FDs are open descriptors that came with a frame. They are raw numbers, not
// os.Files: a file that does not block would wake the Go poller for each byte
// that a container writes.
type FDs []int

// Close closes all of them.
func (f FDs) Close() {
	for _, fd := range f {
		_ = unix.Close(fd) // nothing is buffered
	}
}

// Conn is a connected unix stream socket that the Go poller knows: the daemon's is a
// net.UnixConn, the supervisor's an os.File.
type Conn interface {
	io.ReadWriter
	syscall.Conn
}

// Write sends v as one frame and descriptors with it, which stay the caller's.
func Write(c Conn, v any, fds ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.LittleEndian.PutUint32(frame, uint32(len(body)))
	frame = append(frame, body...)
	if len(fds) == 0 {
		_, err = c.Write(frame)
		return err
	}
	n, err := sendWith(c, frame, unix.UnixRights(fds...))
	if err == nil && n < len(frame) {
		_, err = c.Write(frame[n:])
	}
	return err
}

// Read receives one frame into v and the descriptors that came with it, which
// are then the caller's. io.EOF means that the peer is gone between frames.
func Read(c Conn, v any) (FDs, error) {
	head := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(maxFDs*4))
	n, oobn, err := receiveWith(c, head, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	fds, err := parseFDs(oob[:oobn])
	if err == nil && n < len(head) {
		_, err = io.ReadFull(c, head[n:])
	}
	if err == nil {
		err = readBody(c, binary.LittleEndian.Uint32(head), v)
	}
	if err != nil {
		fds.Close() // the frame is refused; so are they
		return nil, err
	}
	return fds, nil
}

// sendWith sends as much of p as the socket takes at once, and the control message.
func sendWith(c Conn, p, oob []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.SendmsgN(int(fd), p, oob, nil, unix.MSG_NOSIGNAL)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if closed != nil {
		err = closed // not what was tried before it
	}
	return max(n, 0), err
}

// receiveWith waits for bytes and the control message that comes with them.
func receiveWith(c Conn, p, oob []byte) (n, oobn int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	closed := raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, _, err = unix.Recvmsg(int(fd), p, oob, unix.MSG_CMSG_CLOEXEC)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if closed != nil {
		err = closed
	}
	return n, oobn, err
}

func readBody(r io.Reader, size uint32, v any) error {
	if size > maxFrame {
		return fmt.Errorf("frame of %d bytes exceeds the limit of %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

func parseFDs(oob []byte) (FDs, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var all FDs
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if errors.Is(err, unix.EINVAL) {
			continue // another kind of control message
		}
		if err != nil {
			return all, err
		}
		all = append(all, fds...) // close-on-exec already, see receiveWith
	}
	return all, nil
}
