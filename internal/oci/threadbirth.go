package oci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// threadBirth is a birth whose preparations a thread of this process makes in
// the container's namespaces, so that the child needs no Go runtime: see
// boot.OnThread.
type threadBirth struct {
	plan     *plan.Init
	ready    func() (groundwork, error) // see boot.Thread
	enter    func() error               // makes the thread a member of the namespaces of others
	pidNS    int                        // the one of others among them that the child joins, -1: none
	listener int                        // where the child waits for Start, -1: it does not
	keep     bool                       // see CreateOptions.KeepMounts
}

func (b *birth) spawnOnThread(t *threadBirth) (_ *spawned, err error) {
	exe, err := bare.Executable()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := fd.SocketPair()
	if err != nil {
		return nil, err
	}
	defer fd.Close(theirs)
	s := &spawned{child: ns.Child{PidFD: -1}, sock: ours, console: -1, mounts: -1, log: b.log, scripted: true}
	inherited, err := b.files(theirs)
	if err != nil {
		s.closeFiles()
		return nil, err
	}
	job := &boot.Thread{
		Sock: b.sockFD(), Ready: func() (*seccomp.Program, error) { g, err := t.ready(); return g.filter, err }, PidNS: t.pidNS, Listener: t.listener, KeepMounts: t.keep,
		Warn: func(text string) { b.log.Warn("container init: " + text) },
	}
	for _, h := range inherited {
		job.Files = append(job.Files, int(h))
	}
	s.child, err = ns.ForkJoin(func() (ns.Joiner, error) {
		if err := t.enter(); err != nil {
			return ns.Joiner{}, err
		}
		if err := boot.OnThread(t.plan, b.clone&^unix.CLONE_NEWPID, job); err != nil {
			return ns.Joiner{}, failure(boot.FailureOf(err))
		}
		s.console, s.mounts = job.Console, job.Mounts
		ground, err := t.ready()
		if err != nil {
			return ns.Joiner{}, err
		}
		j := ns.Joiner{Program: int(exe.Fd()), Argv: bare.Args(job.Script), CgroupFD: ground.door.Unified(), Clone: b.clone & unix.CLONE_NEWPID}
		for _, h := range job.Files {
			j.Files = append(j.Files, uintptr(h))
		}
		// Last of all, see boot.OnThread.
		return j, ground.door.EnterV1()
	})
	job.Close()
	if err == nil && t.pidNS >= 0 {
		err = s.succeed()
	}
	if err != nil {
		err = errors.Join(err, s.kill())
		s.closeFiles()
		return nil, err
	}
	return b.born(s)
}

// succeed takes over the child's own child, which lives in the PID namespace
// that the child joined and is ours by CLONE_PARENT. The child ends.
func (s *spawned) succeed() error {
	first := s.child
	s.child = ns.Child{PidFD: -1}
	f, err := s.firstFrame(first.PidFD)
	if err == nil && (f.Kind != boot.FrameBorn || len(f.Body) != 4) {
		err = fmt.Errorf("start init: unexpected frame %q", f.Kind)
	}
	if err == nil {
		s.child.Pid = int(binary.NativeEndian.Uint32(f.Body))
		if s.child.PidFD, err = unix.PidfdOpen(s.child.Pid, 0); err != nil {
			err = fmt.Errorf("start init: open process %d: %w", s.child.Pid, err)
		}
	}
	parent := spawned{child: first, sock: -1, console: -1, mounts: -1}
	return errors.Join(err, parent.kill())
}

// firstFrame reads what a child says that ends afterwards. Its own child would
// keep the socket open if it ended without a word.
func (s *spawned) firstFrame(pidfd int) (fd.Frame, error) {
	ready := []unix.PollFd{{Fd: int32(s.sock), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(ready, -1)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fd.Frame{}, fmt.Errorf("wait for init: %w", err)
		}
	}
	if ready[0].Revents == 0 {
		return fd.Frame{}, errs.Wrap(errs.Internal, errInitDied)
	}
	f, err := fd.ReadFrame(s.sock)
	if errors.Is(err, io.EOF) {
		err = errs.Wrap(errs.Internal, errInitDied)
	}
	if err == nil && f.Kind == boot.FrameErrno {
		err = failure(boot.DecodeErrno(f.Body))
	}
	return f, err
}
