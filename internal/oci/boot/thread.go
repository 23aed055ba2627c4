package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/linux/tty"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// maxText is the size of arguments and environment up to which a program fits a
// script for sure.
const maxText = bare.MaxImage / 2

// Threadable tells whether OnThread can do what the plan demands. unshare are the
// namespaces that are made for the container.
func Threadable(p *plan.Init, unshare uintptr) bool {
	if p.UserNS || p.NewTimeNS || p.Hooks.Runtime || len(p.Hooks.Create)+len(p.Hooks.StartContainer) > 0 {
		return false
	}
	size := 0
	for _, list := range [][]string{p.Process.Args, p.Process.Env} {
		for _, s := range list {
			size += len(s)
		}
	}
	if size > maxText {
		return false
	}
	if p.Exec {
		return true
	}
	if unshare&unix.CLONE_NEWNS == 0 {
		return false
	}
	// What is mounted last must be nobody's ground.
	for i, m := range p.Root.Targets {
		if m.Type != "proc" && m.Type != "cgroup" && m.Type != "cgroup2" {
			continue
		}
		for _, later := range p.Root.Targets[i+1:] {
			if within(later.Target, m.Target) {
				return false
			}
		}
		if within(path.Clean(p.Process.Cwd), m.Target) || within(path.Clean(p.Process.Args[0]), m.Target) {
			return false
		}
	}
	return true
}

// within tells whether the path name is dir or in it.
func within(name, dir string) bool { return name == dir || below(name, dir) }

// below tells whether the path name is in dir.
func below(name, dir string) bool { return strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/") }

// Ground is what a process needs besides its mounts.
type Ground struct {
	Filter *seccomp.Program // nil: none
	Tasks  []int            // files of v1 cgroups to write 0 to
	Group  int              // the v2 cgroup to be born in, -1: none, or the caller sees to it
}

// Thread is what OnThread gets from its caller and leaves for the process.
type Thread struct {
	// Files become the descriptors 0, 1, … of the process. The caller puts the
	// three standard streams, what the container inherits and the socket to the
	// parent in; OnThread replaces streams and appends.
	Files []int
	Sock  int // index of the socket in Files; whatever follows does not reach the program

	// Ready waits until the container's cgroup and filter exist.
	Ready    func() (Ground, error)
	NewPID   bool // the process is born into a new PID namespace
	PidNS    int  // the PID namespace to join, -1: none
	TimeNS   int  // the time namespace to join, -1: none
	Listener int  // where Start will call, -1: the program runs at once
	// Repeat is not 0 for a process that forks whenever it is told to, see addRepeat:
	// the time that a child has. It goes with PidNS only.
	Repeat time.Duration
	Direct bool // make Placed instead of Script; not with PidNS, TimeNS and Repeat
	Warn   func(string)

	// KeepMounts asks for Mounts.
	KeepMounts bool

	// Mounts is the mount namespace of a new container, -1 if it was not asked for.
	Mounts int
	// Console is the master side of the terminal, if one was asked for, else -1.
	Console int
	// Script is the number in Files of what the process has to do: the program of a
	// bare.Executable. It reads FrameGo when its mounts are made, or when it has been
	// forked, if it Forks.
	Script int
	// Placed is what the process does, if it is Direct: it arranges Files by itself.
	Placed *bare.Placed

	owned []int
}

// Close closes what OnThread opened, Console and Mounts excepted.
func (t *Thread) Close() {
	for _, h := range t.owned {
		fd.Close(h)
	}
	t.owned = nil
}

// thread is an initializer's view of it, with what the process must do itself.
// Methods may be called on nil, when there is no thread.
type thread struct {
	*Thread
	procs    []lateMount
	groups   []lateGroup
	readOnly []string
	covers   coverings
}

func (t *thread) warn(text string) { t.Warn(text) }

// give makes an open file a descriptor of the process and tells its number there.
func (t *thread) give(h int) int {
	t.owned = append(t.owned, h)
	t.Files = append(t.Files, h)
	return len(t.Files) - 1
}

// lend is give for a file that the caller goes on to use and closes.
func (t *thread) lend(h int) (int, error) {
	dup, err := fd.Duplicate(h)
	if err != nil {
		return -1, err
	}
	return t.give(dup), nil
}

// isLate tells whether a path of the container can be reached only when the
// process has mounted its procfs.
func (t *thread) isLate(name string) bool {
	if t == nil {
		return false
	}
	for _, m := range t.procs {
		if below(name, m.mount.Target) {
			return true
		}
	}
	return false
}

// Separate makes new namespaces for the calling thread, and what else it must not
// share with others. To do it again for none of them is allowed.
func Separate(namespaces uintptr) error {
	if err := unix.Unshare(unix.CLONE_FS | int(namespaces)); err != nil {
		return fmt.Errorf("create namespaces: %w", err)
	}
	return nil
}

// OnThread sets the container up from the calling thread, or joins it for one
// more process, and fills in what the process needs: Files, Console and Script.
// The thread ends up in the container's namespaces, the cgroup namespace
// excepted, and must end with the call's caller. Plans for which
// Threadable is false are not allowed. On error nothing stays open.
//
// Neither the thread nor the process before it executes its script is in the
// container's cgroup: the one runs Go code, for the other a thread of Go's waits
// without letting go of anything. They must neither be frozen nor throttled, nor
// be what is killed when the container's memory is used up. So the script has to
// do it, which needs a second process where the one cannot move by itself.
func OnThread(p *plan.Init, unshare uintptr, t *Thread) (err error) {
	t.Console, t.Mounts = -1, -1
	b := &initializer{sock: t.Sock, plan: *p, proc: -1, root: mount.RootAt(-1), thread: &thread{Thread: t}}
	b.plan.FDs = plan.FDs{FirstClosed: t.Sock, MountNS: p.FDs.MountNS, CgroupNS: p.FDs.CgroupNS}
	if p.Process.Caps != nil {
		caps := *p.Process.Caps
		b.plan.Process.Caps = &caps
	}
	defer func() {
		if err != nil {
			t.Close()
			fd.Close(t.Console)
			fd.Close(t.Mounts)
			t.Console, t.Mounts = -1, -1
		}
	}()
	if err := Separate(unshare); err != nil {
		return err
	}
	if err := b.openProc(); err != nil {
		return err
	}
	t.owned = append(t.owned, b.proc)
	if err := b.joinKeyring(); err != nil {
		return err
	}
	unix.Umask(0) // the modes of what is made are exact
	if b.plan.Exec {
		err = b.join()
	} else {
		err = b.build()
	}
	t.owned = append(t.owned, b.root.FD())
	if err == nil && t.KeepMounts {
		t.Mounts, err = unix.Openat(b.proc, "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err == nil {
		err = b.prepare()
	}
	if err != nil {
		return err
	}
	ground, err := t.Ready()
	if err != nil {
		return err
	}
	b.filter = ground.Filter
	program, err := b.script(ground)
	if err != nil {
		return err
	}
	if t.Direct {
		t.Placed, err = program.Place()
		return err
	}
	image, err := program.File()
	if err != nil {
		return err
	}
	t.Script = b.thread.give(image)
	return nil
}

// script is what the process does.
func (b *initializer) script(g Ground) (*bare.Program, error) {
	s, t := script{bare.New(b.sock)}, b.thread
	if !t.Direct { // whose memory is its parent's; nobody else is in its PID namespace yet
		s.prctl("set dumpable", unix.PR_SET_DUMPABLE, 0)
	}
	// What the creator itself has inherited goes before anybody inside can see it.
	foreign := s.call("close inherited descriptors", unix.SYS_CLOSE_RANGE, bare.Int(0), bare.Int(^uint32(0)), bare.Int(0))
	place := func() error { return nil }
	if t.Repeat > 0 {
		var err error
		if place, err = b.addRepeat(s, g, t.Repeat); err != nil {
			return nil, err
		}
	} else {
		if err := b.addBirth(s, g); err != nil {
			return nil, err
		}
		if t.Forks(g) { // what was forked lives on until its parent has found it
			s.await(b.sock, s.Slot())
		}
	}
	s.call("start session", unix.SYS_SETSID)
	if err := b.addLate(s); err != nil {
		return nil, err
	}
	if err := b.addLimits(s); err != nil {
		return nil, err
	}
	if !t.Forks(g) {
		// Up to here the process concerns nobody but itself: the parent records it and
		// does what is left to do meanwhile. If the parent dies, so does the process.
		s.await(b.sock, s.Slot())
	}
	if t.Listener >= 0 {
		number, err := t.lend(t.Listener)
		if err != nil {
			return nil, err
		}
		conn := s.Slot()
		s.say(b.sock, FrameReady)
		s.call("wait for start", unix.SYS_ACCEPT4, bare.Int(number), bare.Int(0), bare.Int(0), bare.Int(unix.SOCK_CLOEXEC)).Into(conn)
		s.call("take over socket", unix.SYS_DUP3, conn.Value(), bare.Int(b.sock), bare.Int(unix.O_CLOEXEC))
		s.call("close socket", unix.SYS_CLOSE, conn.Value())
		s.call("close listener", unix.SYS_CLOSE, bare.Int(number))
	}
	if err := b.addFinal(s); err != nil {
		return nil, err
	}
	if t.Direct {
		foreign.Set(0, bare.Int(len(t.Files)))
		return s.Program, b.addArrival(s)
	}
	foreign.Set(0, bare.Int(len(t.Files)+1)) // the script's own file is the last
	return s.Program, place()
}

// addArrival adds what comes first where no execve does it: the descriptors get
// their numbers, and signals their mask.
func (b *initializer) addArrival(s script) error {
	var mask unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &mask); err != nil {
		return fmt.Errorf("read signal mask: %w", err)
	}
	files := b.thread.Files
	high := slices.Max(files) + 1
	s.Begin(func() {
		for i, h := range files { // first out of the way of the final numbers
			s.call("arrange descriptors", unix.SYS_DUP3, bare.Int(h), bare.Int(high+i), bare.Int(0))
		}
		for i := range files {
			s.call("arrange descriptors", unix.SYS_DUP3, bare.Int(high+i), bare.Int(i), bare.Int(0))
		}
		s.call("set signal mask", unix.SYS_RT_SIGPROCMASK, bare.Int(unix.SIG_SETMASK), s.Words(mask.Val[0]), bare.Int(0), bare.Int(sizeofSigset))
	})
	return nil
}

// Forks tells whether the process forks and ends, so that its child is what
// becomes the container's.
func (t *Thread) Forks(g Ground) bool { return t.PidNS >= 0 || g.Group >= 0 }

// addBirth adds how the process comes into its PID namespace and cgroup.
func (b *initializer) addBirth(s script, g Ground) error {
	t := b.thread
	if t.TimeNS >= 0 {
		number, err := t.lend(t.TimeNS)
		if err != nil {
			return err
		}
		s.call("join time namespace", unix.SYS_SETNS, bare.Int(number), bare.Int(unix.CLONE_NEWTIME))
	}
	if t.PidNS >= 0 {
		// The namespace takes effect for children. Until here nobody in it could
		// see this process, whose memory was its parent's until execve.
		number, err := t.lend(t.PidNS)
		if err != nil {
			return err
		}
		s.call("join PID namespace", unix.SYS_SETNS, bare.Int(number), bare.Int(unix.CLONE_NEWPID))
	}
	if t.Forks(g) {
		if err := b.addFork(s, g.Group); err != nil {
			return err
		}
	}
	return b.addTasks(s, g)
}

// addTasks adds the joining of v1 cgroups. It comes after the fork: a container
// that is at its limit of processes must be one that somebody can look into.
func (b *initializer) addTasks(s script, g Ground) error {
	for _, h := range g.Tasks {
		number, err := b.thread.lend(h)
		if err != nil {
			return err
		}
		s.call("join cgroup", unix.SYS_WRITE, bare.Int(number), s.Bytes([]byte{'0'}), bare.Int(1))
		s.call("close cgroup", unix.SYS_CLOSE, bare.Int(number))
	}
	return b.addCgroupNS(s)
}

// addFork adds the fork, in which the process ends and its child goes on, in the
// v2 cgroup if there is one. Into a cgroup that is at its limit of processes no
// child is born, but one may move there.
func (b *initializer) addFork(s script, group int) error {
	const flags = unix.CLONE_PARENT
	child := s.Slot()
	fork := func(into, group uint64) *bare.Call {
		// struct clone_args: flags and, last of eleven words, the cgroup.
		args := s.Words(flags|into, 0, 0, 0, 0, 0, 0, 0, 0, 0, group)
		call := s.call("fork", unix.SYS_CLONE3, args, bare.Int(11*8)).Into(child)
		s.call("report pid", unix.SYS_WRITE, bare.Int(b.sock), s.Bytes([]byte{FrameBorn, 4, 0, 0, 0}), bare.Int(frameHead))
		s.call("report pid", unix.SYS_WRITE, bare.Int(b.sock), child.Addr(), bare.Int(4))
		s.call("end", unix.SYS_EXIT_GROUP, bare.Int(0))
		return call.IfZero(3)
	}
	if group < 0 {
		fork(0, 0)
		return nil
	}
	var newPID uint64
	if b.thread.NewPID {
		newPID = unix.CLONE_NEWPID
	}
	number, err := b.thread.lend(group)
	if err != nil {
		return err
	}
	born := fork(newPID|unix.CLONE_INTO_CGROUP, uint64(number)).Tolerate(unix.EAGAIN, 3)
	begin := s.Len()
	fork(newPID, 0)
	procs := s.Slot()
	s.call("open cgroup", unix.SYS_OPENAT, bare.Int(number), s.String("cgroup.procs"), bare.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(procs)
	s.call("join cgroup", unix.SYS_WRITE, procs.Value(), s.Bytes([]byte{'0'}), bare.Int(1))
	s.call("close cgroup", unix.SYS_CLOSE, procs.Value())
	born.IfZero(3 + s.Len() - begin)
	s.call("close cgroup", unix.SYS_CLOSE, bare.Int(number))
	return nil
}

// addCgroupNS adds the joining of the cgroup namespace, which comes after the
// entering of the cgroup: where the namespaces are borders of delegation (the
// option nsdelegate, which systemd sets), nobody inside one brings a process in.
func (b *initializer) addCgroupNS(s script) error {
	if b.plan.FDs.CgroupNS <= 0 {
		return nil
	}
	number, err := b.thread.lend(b.plan.FDs.CgroupNS)
	if err != nil {
		return err
	}
	s.call("join cgroup namespace", unix.SYS_SETNS, bare.Int(number), bare.Int(unix.CLONE_NEWCGROUP))
	s.call("close cgroup namespace", unix.SYS_CLOSE, bare.Int(number))
	return nil
}

// inChild is a file of this thread's as an argument of the process's.
func (b *initializer) inChild(h int) bare.Arg {
	if b.thread == nil {
		return bare.Int(h)
	}
	b.thread.Files = append(b.thread.Files, h)
	return bare.Int(len(b.thread.Files) - 1)
}

// stream is the file behind a standard stream.
func (b *initializer) stream(n int) int {
	if b.thread == nil {
		return n
	}
	return b.thread.Files[n]
}

// setStream makes h a standard stream.
func (b *initializer) setStream(n, h int) error {
	if b.thread == nil {
		return unix.Dup3(h, n, 0)
	}
	b.thread.Files[n] = h
	return nil
}

// release gives up a file that may have become a standard stream.
func (b *initializer) release(h int) {
	if b.thread == nil || h < 0 {
		fd.Close(h)
		return
	}
	b.thread.owned = append(b.thread.owned, h)
}

// useTerminal makes a terminal the standard streams and gives its other end to
// the parent. What it takes out of the pair is not the caller's any more.
func (b *initializer) useTerminal(pair *tty.Pair) error {
	for n := range 3 {
		if err := b.setStream(n, pair.Slave); err != nil {
			return fmt.Errorf("attach terminal: %w", err)
		}
	}
	if b.thread == nil {
		return fd.WriteFrame(b.sock, fd.Frame{Kind: FrameConsole, FDs: []int{pair.Master}})
	}
	b.release(pair.Slave)
	b.thread.Console = pair.Master
	pair.Slave, pair.Master = -1, -1
	return nil
}
