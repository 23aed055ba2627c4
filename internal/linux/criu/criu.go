// Package criu has CRIU, a program of its own, dump a tree of processes into files
// and restore it from there. It owns the protocol that CRIU speaks with its parent
// (`criu swrk`), and knows nothing of containers.
package criu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Process says how criu itself is started.
type Process struct {
	Program string      // "" is criu in PATH
	Files   [3]*os.File // standard streams, also of what is restored; nil is /dev/null
	Extra   []int       // get the numbers from FirstExtra on
	Cgroup  int         // the v2 group that it is born in, -1: ours
	Prepare func() error
	// Prepare runs on the forking thread, see ns.Fork.
}

const sockFD = 3

// FirstExtra is the number of the first of Process.Extra in criu.
const FirstExtra = sockFD + 1

// Notification is something that happens while criu works; it waits for the end of
// what is done about it.
type Notification struct {
	Script string // "post-restore", "setup-namespaces", …
	Pid    int    // of the first process that is restored
	FD     int    // what comes along, -1: nothing; it is the receiver's
}

// Run has criu do what verb says. A failure of criu's has the errors of its log in
// its text.
func (p *Process) Run(verb Verb, o *Options, notify func(Notification) error) error {
	program := p.Program
	if program == "" {
		program = "criu"
	}
	program, err := exec.LookPath(program)
	if err != nil {
		return errs.New(errs.Unsupported, "find criu: %w", err)
	}
	ours, theirs, err := packetPair()
	if err != nil {
		return fmt.Errorf("start criu: %w", err)
	}
	child, err := p.start(program, theirs)
	fd.Close(theirs)
	if err != nil {
		fd.Close(ours)
		return fmt.Errorf("start criu: %w", err)
	}
	err = converse(ours, verb, o, notify)
	fd.Close(ours)
	if err != nil || verb == PreDump { // after which it would wait for the next
		_ = unix.PidfdSendSignal(child.PidFD, unix.SIGKILL, nil, 0) // it may have ended
	}
	status := reap(child)
	if err == nil && verb != PreDump && status != 0 {
		err = fmt.Errorf("criu ends with status %d", status)
	}
	if err != nil {
		return o.explain(err)
	}
	return nil
}

func packetPair() (ours, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	return pair[0], pair[1], err
}

func (p *Process) start(program string, sock int) (ns.Child, error) {
	null, err := fd.DevNull()
	if err != nil {
		return ns.Child{}, err
	}
	var files []uintptr
	for _, f := range p.Files {
		if f == nil {
			f = null
		}
		files = append(files, f.Fd())
	}
	files = append(files, uintptr(sock))
	for _, h := range p.Extra {
		files = append(files, uintptr(h))
	}
	attr := &syscall.ProcAttr{Dir: "/", Files: files, Env: os.Environ(), Sys: &syscall.SysProcAttr{}}
	if p.Cgroup >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, p.Cgroup
	}
	return ns.Fork(program, []string{program, "swrk", strconv.Itoa(sockFD)}, attr, p.Prepare)
}

// converse sends the request and answers notifications until the work is done.
func converse(sock int, verb Verb, o *Options, notify func(Notification) error) error {
	if err := send(sock, request(verb, o)); err != nil {
		return err
	}
	for {
		a, handle, err := receive(sock)
		if err == nil && !a.success {
			err = a.failure()
		}
		if err != nil {
			fd.Close(handle)
			return err
		}
		if a.verb != notification {
			fd.Close(handle) // there is none
			if a.verb != verb {
				return fmt.Errorf("unexpected answer of criu: %d", a.verb)
			}
			return nil
		}
		if err := notify(Notification{a.script, a.pid, handle}); err != nil {
			return err
		}
		if err := send(sock, request(notification, nil)); err != nil {
			return err
		}
	}
}

func (a answer) failure() error {
	if a.errno != 0 {
		return fmt.Errorf("criu failed: %w", unix.Errno(a.errno))
	}
	return errors.New("criu failed")
}

var errDied = errors.New("criu died")

func send(sock int, m message) error {
	for {
		err := unix.Sendmsg(sock, m, nil, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EPIPE) {
			return errDied
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// maxAnswer bounds what criu sends at once.
const maxAnswer = 40 << 10

func receive(sock int) (answer, int, error) {
	buf, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*fd.MaxFDs))
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) {
			err = errDied
		}
		if err != nil {
			return answer{}, -1, err
		}
		handle, err := firstRight(oob[:oobn])
		if err != nil {
			return answer{}, -1, err
		}
		a, err := decode(buf[:n])
		return a, handle, err
	}
}

// firstRight gives the first descriptor of a message and closes all others.
func firstRight(oob []byte) (int, error) {
	handle := -1
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, err
	}
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials or the like
		}
		for _, h := range rights {
			if handle < 0 {
				handle = h
				continue
			}
			fd.Close(h)
		}
	}
	return handle, nil
}

// reap waits for criu and gives its exit status, -1 if that is not to be had.
func reap(child ns.Child) int {
	defer fd.Close(child.PidFD)
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(child.Pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0 // a parent that reaps everything was faster; criu has said how it went
		}
		return status.ExitStatus()
	}
}

// explain adds the first errors of criu's log, which says more than its answer.
func (o *Options) explain(err error) error {
	dir := o.Work
	if dir == 0 {
		dir = o.Images
	}
	if lines := logErrors(dir, o.LogFile); len(lines) > 0 {
		return fmt.Errorf("%w: %s (%s)", err, strings.Join(lines, "; "), o.LogFile)
	}
	return err
}

// maxLog bounds how much of criu's log is searched.
const maxLog = 64 << 20

// logErrors finds the first errors that say something in criu's log. A link in the
// log's place is not followed: what it leads to is not ours to tell.
func logErrors(dir int, name string) (lines []string) {
	h, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	log := os.NewFile(uintptr(h), name)
	defer log.Close() //nolint:errcheck // read only
	if info, err := log.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	const most = 3
	r := bufio.NewReader(io.LimitReader(log, maxLog))
	for len(lines) < most {
		line, err := r.ReadSlice('\n')
		if _, text, ok := strings.Cut(string(line), "Error ("); ok {
			if _, said, cut := strings.Cut(text, "): "); cut {
				text = said // without the place in criu's source
			}
			if !strings.HasPrefix(text, "exited, status=") {
				lines = append(lines, strings.TrimSpace(text))
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	return lines
}
