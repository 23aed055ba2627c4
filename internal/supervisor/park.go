package supervisor

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// The daemon parks our ends of every container's standard streams. When the
// supervisor is killed, nobody reads, but nothing is lost: the pipes live on in
// the daemon, writers wait, and the next supervisor gets them back. The order in
// a frame is: terminal master; or stdout, stderr, their spools and, if open, stdin.

// parkable gives copies of the current run's descriptors, for the caller to send
// and close. They are copies because a short run ends, and closes its own, while
// the answer is on its way.
func (c *container) parkable() wire.FDs {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil || c.exit != nil {
		return nil
	}
	return c.run.io.descriptors()
}

func (s *streams) descriptors() wire.FDs {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fds wire.FDs
	for _, f := range []*os.File{s.stdout, s.stderr, s.outSpool.file(), s.errSpool.file(), s.stdin} {
		if f == nil {
			continue
		}
		raw, err := f.SyscallConn() // Fd would make it block
		if err != nil {
			continue
		}
		_ = raw.Control(func(fd uintptr) { // fails for a closed file only
			if dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
				fds = append(fds, dup)
			}
		})
	}
	return fds
}

// takeStreams gives an adopted container the streams that the daemon has parked,
// none if they are lost.
func (s *Server) takeStreams(req wire.Request, fds wire.FDs) error {
	c, err := s.find(req.ID)
	if err == nil && req.Start == nil {
		err = errs.New(errs.InvalidArgument, "adopt needs a description")
	}
	var p *pipes
	if err == nil && len(fds) > 0 {
		p, err = adoptedPipes(req.Start.TTY, fds)
	}
	if err != nil {
		fds.Close()
		return err
	}
	if p == nil {
		return c.resume(nil, false, nil)
	}
	log, err := openLog(req.Start.Log)
	if err != nil {
		p.closeOurs()
		return err
	}
	return c.resume(p, req.Start.StdinOnce, log)
}

// adoptedPipes is the reverse of descriptors. The files own fds afterwards.
func adoptedPipes(tty bool, fds wire.FDs) (*pipes, error) {
	if tty && len(fds) != 1 || !tty && len(fds) != wire.ParkedStdin && len(fds) != wire.ParkedStdin+1 {
		return nil, errs.New(errs.InvalidArgument, "adopt with %d descriptors", len(fds))
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, err
		}
	}
	files := make([]*os.File, wire.ParkedStdin+1)
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "adopted")
	}
	if tty {
		return &pipes{tty: true, stdin: files[0]}, nil
	}
	return &pipes{
		stdout: files[0], stderr: files[1], stdin: files[wire.ParkedStdin],
		outSpool: adoptSpool(files[2]), errSpool: adoptSpool(files[3]),
	}, nil
}

// resume lets the output of an adopted container flow again. Without pipes it
// only stops the container's end from waiting for them.
func (c *container) resume(p *pipes, stdinOnce bool, log logWriter) error {
	c.mu.Lock()
	r := c.run
	if r == nil || c.exit != nil || !r.wantsStreams() {
		c.mu.Unlock()
		if p != nil {
			p.closeOurs()
		}
		if log != nil {
			_ = log.Close() // nothing was written
		}
		return errs.New(errs.Conflict, "container %s wants no streams", c.id)
	}
	defer close(r.returned) // when the pumps are counted
	if p == nil {
		c.mu.Unlock()
		return nil
	}
	io := p.streams(p.stdin, stdinOnce)
	io.onStdinClosed = c.stdinClosed
	old := r.io
	r.io, r.log = io, log
	c.mu.Unlock()
	old.finish()
	p.pump(io, p.stdin, log, func(err error) { c.srv.log.Warn("write container log", "container", c.id, "error", err) })
	return nil
}

func (r *run) wantsStreams() bool {
	if r.returned == nil || r.over {
		return false
	}
	select {
	case <-r.returned:
		return false
	default:
		return true
	}
}
