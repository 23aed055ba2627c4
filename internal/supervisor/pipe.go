package supervisor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/oci"
)

// pipes are the two ends of a process's standard streams before it starts.
// With a terminal there are none: the runtime makes the terminal.
type pipes struct {
	tty    bool
	theirs oci.IO
	stdin  *os.File // our ends
	stdout *os.File
	stderr *os.File

	outSpool, errSpool *spool // nil: none
}

func newPipes(openStdin, tty bool) (p *pipes, err error) {
	p = &pipes{tty: tty}
	if tty {
		return p, nil
	}
	defer func() {
		if err != nil {
			p.closeOurs()
			p.closeTheirs()
			p, err = nil, fmt.Errorf("create pipes: %w", err)
		}
	}()
	if openStdin {
		if p.theirs.Stdin, p.stdin, err = pipe(false); err != nil {
			return p, err
		}
	}
	if p.stdout, p.theirs.Stdout, err = pipe(true); err != nil {
		return p, err
	}
	p.stderr, p.theirs.Stderr, err = pipe(true)
	return p, err
}

// addSpools makes what keeps output safe until it is logged.
func (p *pipes) addSpools() (err error) {
	if p.tty {
		return nil // a terminal's bytes cannot be moved
	}
	if p.outSpool, err = newSpool(); err == nil {
		p.errSpool, err = newSpool()
	}
	return err
}

// pipe makes a pipe whose one end, ours, does not block (so that the Go poller
// waits for it), while the process's end blocks as programs expect. The flag is
// set per open file description, hence after the fact and on one end only.
func pipe(oursReads bool) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	ours := fds[1]
	if oursReads {
		ours = fds[0]
	}
	if err := unix.SetNonblock(ours, true); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "|0"), os.NewFile(uintptr(fds[1]), "|1"), nil
}

func (p *pipes) closeTheirs() { closeAll(p.theirs.Stdin, p.theirs.Stdout, p.theirs.Stderr) }
func (p *pipes) closeOurs() {
	closeAll(p.stdin, p.stdout, p.stderr, p.outSpool.file(), p.errSpool.file())
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// streams makes the running form. console is the terminal's master, if any.
func (p *pipes) streams(console *os.File, stdinOnce bool) *streams {
	s := &streams{tty: p.tty, stdinOnce: stdinOnce, stdin: p.stdin, stdout: p.stdout, stderr: p.stderr, ready: make(chan struct{}), outSpool: p.outSpool, errSpool: p.errSpool}
	if p.tty {
		s.stdin = console
	}
	return s
}

// pollable makes a terminal's master, which comes blocking, one that the Go
// poller waits for: it costs no thread, and whoever waits for it can be woken.
// Without a descriptor to spare it stays as it is.
func pollable(console *os.File) *os.File {
	if console == nil {
		return nil
	}
	dup, err := unix.FcntlInt(console.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return console
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		_ = unix.Close(dup)
		return console
	}
	_ = console.Close() // dup is the same terminal
	return os.NewFile(uintptr(dup), "console")
}

// pump starts copying. streams.finish closes the output ends.
func (p *pipes) pump(s *streams, console *os.File, log logWriter, onLogError func(error)) {
	start := func(stream byte, f *os.File, spool *spool) {
		var l *lines
		if log != nil {
			l = &lines{stream: streamNames[stream], log: log, spool: spool}
		}
		s.pumps.Add(1)
		s.flows.Add(1)
		go s.pump(stream, f, l, onLogError)
	}
	if p.tty {
		start(stdout, console, nil)
		return
	}
	start(stdout, p.stdout, p.outSpool)
	start(stderr, p.stderr, p.errSpool)
}
