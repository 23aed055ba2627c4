package oci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
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
	timeNS   int                        // likewise
	listener int                        // where the child waits for Start, -1: it does not
	keep     bool                       // see CreateOptions.KeepMounts
	repeat   time.Duration              // see boot.Thread
	place    *ns.Thread                 // that has made all new namespaces but the PID's, nil: none has
}

func (b *birth) spawnOnThread(t *threadBirth) (_ *spawned, err error) {
	direct := b.mayRunHere(t)
	program := -1
	if !direct {
		exe, err := bare.Executable()
		if err != nil {
			return nil, err
		}
		program = int(exe.Fd())
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
	var ground boot.Ground
	group := -1
	job := &boot.Thread{
		Sock: b.sockFD(), PidNS: t.pidNS, TimeNS: t.timeNS, Listener: t.listener, KeepMounts: t.keep, Repeat: t.repeat, NewPID: b.clone&unix.CLONE_NEWPID != 0,
		Direct: direct,
		Ready: func() (boot.Ground, error) {
			g, err := t.ready()
			if err == nil {
				ground, group = g.forThread(t.pidNS >= 0, direct)
			}
			return ground, err
		},
		Warn: func(text string) { b.log.Warn("container init: " + text) },
	}
	for _, h := range inherited {
		job.Files = append(job.Files, int(h))
	}
	unshare := b.clone &^ unix.CLONE_NEWPID
	if t.place != nil {
		unshare = 0
	}
	s.child, err = t.place.ForkJoin(func() (ns.Joiner, error) {
		if err := ns.RunOn(b.cpus); err != nil {
			return ns.Joiner{}, err
		}
		if err := t.enter(); err != nil {
			return ns.Joiner{}, err
		}
		if err := boot.OnThread(t.plan, unshare, job); err != nil {
			return ns.Joiner{}, failure(boot.FailureOf(err))
		}
		s.console, s.mounts = job.Console, job.Mounts
		j := ns.Joiner{Program: program, Argv: bare.Args(job.Script), CgroupFD: group}
		if !job.Forks(ground) {
			j.Clone = b.clone & unix.CLONE_NEWPID
		}
		if direct {
			j.Code, j.Stack, j.StackSize = job.Placed.Code, job.Placed.Stack, job.Placed.Size
			return j, nil
		}
		for _, h := range job.Files {
			j.Files = append(j.Files, uintptr(h))
		}
		return j, nil
	})
	job.Close()
	if err == nil && job.Forks(ground) && t.repeat == 0 {
		err = s.succeed()
	}
	if err != nil {
		err = errors.Join(err, s.kill())
		s.closeFiles()
		job.Placed.Remove() // whoever used it has ended
		return nil, err
	}
	return b.born(s)
}

// mayRunHere tells whether the process may do what it has to do within our memory,
// which saves an execve: if we are about to end anyway (a process that is killed for
// want of memory takes all with it that share it), if nobody else is in its PID
// namespace, and if its share of the kernel's mercy is ours.
func (b *birth) mayRunHere(t *threadBirth) bool {
	return b.oneShot && t.repeat == 0 && t.pidNS < 0 && t.timeNS < 0 && b.clone&unix.CLONE_NEWPID != 0 && b.oomScore == nil
}

// forThread is the groundwork as a script takes it, and the group that the process
// is to be forked into at once: that of a new container, which nobody freezes yet,
// and, if a thread waits for it, only where v1 is in use, so that the unified
// hierarchy has no limits.
func (g groundwork) forThread(joinsPID, direct bool) (ground boot.Ground, fork int) {
	ground = boot.Ground{Filter: g.filter, Tasks: g.door.Tasks(), Group: g.door.Unified()}
	if joinsPID || len(ground.Tasks) == 0 && !direct {
		return ground, -1
	}
	fork, ground.Group = ground.Group, -1
	return ground, fork
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
		if s.child, err = ns.OpenChild(int(binary.NativeEndian.Uint32(f.Body))); err != nil {
			err = fmt.Errorf("start init: %w", err)
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
		// It may have spoken between our looking at the one and at the other. Now that
		// it has ended, all that it said is there.
		if n, err := unix.Poll(ready[:1], 0); err != nil || n == 0 {
			return fd.Frame{}, errs.Wrap(errs.Internal, errInitDied)
		}
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
