package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// spawned is an init process that has been born and waits for its plan.
type spawned struct {
	child     ns.Child
	startTime uint64
	sock      int
	console   int
	mounts    int
	hooks     func() error
	mount     func(body []byte) error       // takes note of a boot.FrameMount
	limits    func() error                  // sets what was left for the end, see tightPids
	notify    func(pid, listener int) error // gives the seccomp listener to who waits for it
	log       *slog.Logger
	scripted  bool // it needs no plan, see threadBirth
	reaped    bool
}

// birth says how to make an init process.
type birth struct {
	io       IO
	preserve []*os.File
	extra    []int // further descriptors; the first gets number 3 + len(preserve) + 1
	clone    uintptr
	door     *cgroup.Door
	prepare  func() error // on the forking thread, after it has entered the cgroup
	cpus     plan.Set     // of that thread, nil: all
	oneShot  bool
	log      *slog.Logger
	uidMap   []syscall.SysProcIDMap
	gidMap   []syscall.SysProcIDMap

	joins     []ns.Membership // by the child itself, see ns.Joiner
	beRoot    bool
	again     bool // see ns.Joiner
	ownMemory bool // fork without sharing memory, as a new time namespace demands
	oomScore  *int
	exact     bool             // fail if oomScore needs a privilege that is missing
	limits    []process.Rlimit // to make room for, see allow
}

// sockFD is the number of the socket in the child; extra descriptors follow it.
func (b *birth) sockFD() int { return 3 + len(b.preserve) }

func (b *birth) spawn() (_ *spawned, err error) {
	self, err := fd.SealedSelf(b.oneShot)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := fd.SocketPair()
	if err != nil {
		return nil, err
	}
	defer fd.Close(theirs)
	files, err := b.files(theirs)
	if err != nil {
		fd.Close(ours)
		return nil, err
	}
	attr := &syscall.ProcAttr{
		Dir: "/", Files: files, Env: []string{"GOMAXPROCS=1"},
		Sys: &syscall.SysProcAttr{Cloneflags: b.clone},
	}
	if u := b.door.Unified(); u >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, u
	}
	argv := []string{"gantry-runtime", boot.Verb, strconv.Itoa(b.sockFD())}
	prepare := func() error {
		if err := ns.RunOn(b.cpus); err != nil {
			return err
		}
		if err := b.door.EnterV1(); err != nil {
			return err
		}
		if b.prepare != nil {
			return b.prepare()
		}
		return nil
	}
	var child ns.Child
	newUser := b.clone&unix.CLONE_NEWUSER != 0
	if len(b.joins) > 0 || b.ownMemory || newUser {
		j := ns.Joiner{
			Program: int(self.Fd()), Argv: argv, Env: attr.Env, Files: files, CgroupFD: b.door.Unified(), Clone: b.clone,
			OwnMemory: true, Joins: b.joins, Again: b.again,
			BeRoot: b.beRoot || newUser, // only root of the namespace keeps its capabilities over execve
		}
		if newUser {
			j.Born = func(pid int) error { return ns.MapIDs(pid, b.uidMap, b.gidMap) }
		}
		child, err = ns.ForkJoin(func() (ns.Joiner, error) { return j, prepare() })
	} else {
		child, err = ns.Fork("/proc/self/fd/"+strconv.Itoa(int(self.Fd())), argv, attr, prepare)
	}
	if err != nil {
		fd.Close(ours)
		return nil, fmt.Errorf("start init: %w", err)
	}
	return b.born(&spawned{child: child, sock: ours, console: -1, mounts: -1, log: b.log})
}

// born completes what is known about a child that waits for its orders.
func (b *birth) born(s *spawned) (*spawned, error) {
	st, err := ns.Stat(s.child.Pid)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find start time of init: %w", err), s.kill())
	}
	s.startTime = st.StartTime
	if err := b.setOOMScore(s.child.Pid); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	for _, l := range b.limits {
		if err := allow(s.child.Pid, l); err != nil {
			return nil, errors.Join(err, s.kill())
		}
	}
	return s, nil
}

// files lists what the child gets, by number.
func (b *birth) files(sock int) ([]uintptr, error) {
	null, err := fd.DevNull()
	if err != nil {
		return nil, err
	}
	var files []uintptr
	for _, f := range []*os.File{b.io.Stdin, b.io.Stdout, b.io.Stderr} {
		if f == nil {
			f = null
		}
		files = append(files, f.Fd())
	}
	for _, f := range b.preserve {
		files = append(files, f.Fd())
	}
	files = append(files, uintptr(sock))
	for _, h := range b.extra {
		files = append(files, uintptr(h))
	}
	return files, nil
}

// timeable refuses a new time namespace that nothing would enter: in a new user
// namespace only the init can make it, and execve must take that there.
func (job *creation) timeable() error {
	if !job.plan.NewTimeNS || job.namespaces.Clone&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	enters, err := ns.ExecEntersTime()
	if err == nil && !enters {
		err = errs.New(errs.Unsupported, "a new time namespace in a new user namespace needs Linux 6.3")
	}
	return err
}

// spawnInit forks a container's init. If ready fails, spawnInit does too.
func (c *Container) spawnInit(job *creation, ready func() (groundwork, error)) (*spawned, error) {
	join, err := openNamespaces(job.namespaces.Join, job.options.Netns)
	if err != nil {
		return nil, err
	}
	defer join.Close()
	if err := job.joinOwner(join); err != nil {
		return nil, err
	}
	if err := join.keepOurs(plan.Changes(job.spec)); err != nil {
		return nil, err
	}
	if err := job.timeable(); err != nil {
		return nil, err
	}
	if err := c.share(job, join); err != nil {
		return nil, err
	}
	late := join.forChild()
	user := late&unix.CLONE_NEWUSER != 0
	b := &birth{
		io: job.options.IO, preserve: job.options.PreserveFDs, clone: job.namespaces.Clone,
		prepare: func() error { return join.enter(late) }, joins: join.members(late), beRoot: user, again: user,
		oneShot: c.rt.oneShot, log: c.rt.log,
	}
	if job.spec.Linux != nil {
		b.uidMap, b.gidMap = idMap(job.spec.Linux.UIDMappings), idMap(job.spec.Linux.GIDMappings)
	}
	if job.options.OwnIO && job.plan.UserNS && len(b.uidMap) > 0 {
		if err := b.io.give(hostID(job.spec.Linux.UIDMappings), hostID(job.spec.Linux.GIDMappings)); err != nil {
			return nil, err
		}
	}
	if job.plan.Process.Terminal {
		b.io = IO{}
	}
	if job.plan.NewTimeNS && job.namespaces.Clone&unix.CLONE_NEWUSER == 0 {
		job.plan.NewTimeNS, b.ownMemory = false, true
		b.prepare = func() error {
			if err := join.enter(late); err != nil {
				return err
			}
			return ns.NewTime(plan.OffsetsText(job.plan.TimeOffsets))
		}
	}
	b.oomScore, b.exact = job.plan.Process.OOMScoreAdj, job.plan.Process.ExactLimits
	if job.plan.UserNS {
		b.limits = job.plan.Process.Rlimits
	}
	// In a user namespace, the kernel lets procfs be mounted only as long as another
	// one is in sight: not after pivot_root, as the thread's child would.
	onThread := !b.ownMemory && late == 0 && !ns.Rootless() && boot.Threadable(job.plan, b.clone)
	mounts, err := job.hostMounts(join, b.sockFD()+1, onThread)
	if err != nil {
		return nil, err
	}
	defer closeAll(mounts)
	if onThread {
		t := &threadBirth{plan: job.plan, ready: ready, pidNS: join.of(unix.CLONE_NEWPID), timeNS: -1, listener: -1, keep: job.options.KeepMounts}
		t.enter = func() error { return join.enter(unix.CLONE_NEWPID) }
		if job.early.made == job.namespaces.Clone&^unix.CLONE_NEWPID {
			t.place = job.early.thread
		}
		if job.wait {
			if t.listener, err = listen(c.dir); err != nil {
				return nil, err
			}
			defer fd.Close(t.listener)
		}
		return b.spawnOnThread(t)
	}
	ground, err := ready()
	if err != nil {
		return nil, err
	}
	b.door, b.extra = ground.door, append(b.extra, mounts...)
	fds := &job.plan.FDs
	fds.FirstClosed = b.sockFD()
	if mnt := join.of(unix.CLONE_NEWNS); mnt >= 0 {
		fds.MountNS = b.sockFD() + 1 + len(b.extra)
		b.extra = append(b.extra, mnt)
	}
	if job.wait {
		listener, err := listen(c.dir)
		if err != nil {
			return nil, err
		}
		defer fd.Close(listener)
		fds.Listener = b.sockFD() + 1 + len(b.extra)
		b.extra = append(b.extra, listener)
	}
	s, err := b.spawn()
	if err == nil && user {
		if err = checkMapping(s.child.Pid, job.spec.Linux); err != nil {
			return nil, errors.Join(err, s.kill())
		}
	}
	return s, err
}

// mayMount tells whether this process may mount. An ordinary user may not; then
// the container's init makes all mounts with the user's own rights.
func mayMount() bool {
	caps, err := capability.Current()
	return err == nil && caps.Effective&capability.Bit(unix.CAP_SYS_ADMIN) != 0
}

func closeAll(fds []int) {
	for _, h := range fds {
		fd.Close(h)
	}
}

func idMap(list []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, m := range list {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return out
}

// listen makes the socket on which init waits for start.
func listen(dir string) (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("create start socket: %w", err)
	}
	err = withSocketPath(dir, func(addr *unix.SockaddrUnix) error {
		if err := unix.Bind(sock, addr); err != nil {
			return err
		}
		return unix.Listen(sock, 1)
	})
	if err != nil {
		fd.Close(sock)
		return -1, fmt.Errorf("create start socket: %w", err)
	}
	return sock, nil
}

// withSocketPath gives f a name of the start socket that is short enough for a
// socket address, however deep dir is.
func withSocketPath(dir string, f func(*unix.SockaddrUnix) error) error {
	handle, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(handle)
	return f(&unix.SockaddrUnix{Name: filepath.Join("/proc/self/fd", strconv.Itoa(handle), startSocket)})
}

var errInitDied = errors.New("container init died before it could start the program")

// handshake gives init its orders and follows init until its program runs, or, with a
// pause before Start, until it is ready.
func (s *spawned) handshake(ctx context.Context, p *plan.Init, filter *seccomp.Program, untilReady bool) error {
	defer onEnd(ctx, func() { _ = unix.PidfdSendSignal(s.child.PidFD, unix.SIGKILL, nil, 0) })() // init's end is what is waited for
	var err error
	if s.scripted {
		err = fd.WriteFrame(s.sock, fd.Frame{Kind: boot.FrameGo})
	} else {
		err = sendPlan(s.sock, p, filter)
	}
	if err != nil && !errors.Is(err, unix.EPIPE) { // after EPIPE, reading tells why
		return err
	}
	err = s.follow(untilReady)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func sendPlan(sock int, p *plan.Init, filter *seccomp.Program) error {
	err := fd.WriteFrame(sock, fd.Frame{Kind: boot.FramePlan, Body: p.Encode()})
	if err != nil || !p.Process.Seccomp {
		return err
	}
	body, err := filter.MarshalBinary()
	if err != nil {
		return err
	}
	return fd.WriteFrame(sock, fd.Frame{Kind: boot.FrameSeccomp, Body: body})
}

// onEnd runs f if ctx ends before the returned function is called, which waits
// for an f that runs.
func onEnd(ctx context.Context, f func()) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { f(); close(done) })
	return func() {
		if !stop() {
			<-done
		}
	}
}

// follow reads frames until init is where it should be.
func (s *spawned) follow(untilReady bool) error {
	ready := false
	for {
		f, err := fd.ReadFrame(s.sock)
		if errors.Is(err, io.EOF) && ready {
			return nil // execve closed the socket
		}
		if errors.Is(err, io.EOF) {
			return errs.Wrap(errs.Internal, errInitDied)
		}
		if err != nil {
			return err
		}
		switch f.Kind {
		case boot.FrameReady:
			if ready = true; untilReady {
				return nil
			}
		case boot.FrameWarning:
			s.log.Warn("container init: " + string(f.Body))
		case boot.FrameConsole:
			if len(f.FDs) == 1 && s.console < 0 {
				s.console, f.FDs = f.FDs[0], nil
			}
		case boot.FrameMount:
			if err := s.answer(func() error { return s.takeMount(f.Body) }); err != nil {
				return err
			}
		case boot.FrameHooks:
			if err := s.answer(s.hooks); err != nil {
				return err
			}
		case boot.FrameLimits:
			if err := s.answer(s.limits); err != nil {
				return err
			}
		case boot.FrameListener:
			if err := s.answer(func() error { return s.takeListener(f.Body) }); err != nil {
				return err
			}
		case boot.FrameError:
			return decodeFailure(f.Body)
		case boot.FrameErrno:
			return failure(boot.DecodeErrno(f.Body))
		default:
			return fmt.Errorf("follow init: unexpected frame %q", f.Kind)
		}
		for _, h := range f.FDs {
			fd.Close(h) // not asked for
		}
	}
}

func (s *spawned) takeMount(body []byte) error {
	if s.mount == nil {
		return errors.New("follow init: it mounts what was made before")
	}
	return s.mount(body)
}

// answer does what init waits for and lets it go on.
func (s *spawned) answer(f func() error) error {
	if f != nil {
		if err := f(); err != nil {
			return err
		}
	}
	return fd.WriteFrame(s.sock, fd.Frame{Kind: boot.FrameGo})
}

func decodeFailure(body []byte) error {
	var f boot.Failure
	if err := json.Unmarshal(body, &f); err != nil {
		return fmt.Errorf("decode init's error: %w", err)
	}
	return failure(f)
}

// failure makes an error of what init says.
func failure(f boot.Failure) error {
	switch {
	case f.Exec:
		return &ExecError{Program: f.Program, Err: errs.New(f.Kind, "%s", f.Message), Tried: f.Errno != 0}
	case f.User:
		return &UserError{Err: errs.New(f.Kind, "%s", f.Message)}
	}
	if f.Errno != 0 {
		return errs.Wrap(f.Kind, calledError{f})
	}
	return errs.New(f.Kind, "%s", f.Message)
}

// calledError is a system call of init's that failed.
type calledError struct{ boot.Failure }

func (e calledError) Error() string { return e.Message }
func (e calledError) Unwrap() error { return e.Errno }

// process hands the child over to the caller. The console goes to the socket
// that was asked for, if any.
func (s *spawned) process(consoleSocket string) (*Process, error) {
	p := &Process{Pid: s.child.Pid}
	if s.console >= 0 {
		console := os.NewFile(uintptr(s.console), "console")
		s.console = -1
		if consoleSocket == "" {
			p.Console = console
		} else {
			err := sendConsole(consoleSocket, console)
			if err = errors.Join(err, console.Close()); err != nil {
				return nil, err
			}
		}
	}
	if s.mounts >= 0 {
		p.Mounts = os.NewFile(uintptr(s.mounts), "mnt")
		s.mounts = -1
	}
	p.PidFD = os.NewFile(uintptr(s.child.PidFD), "pidfd")
	s.child.PidFD = -1
	return p, nil
}

// abandon reaps a process that has ended and that the caller will never see.
func (p *Process) abandon() error {
	s := &spawned{child: ns.Child{Pid: p.Pid, PidFD: int(p.PidFD.Fd())}, sock: -1, console: -1, mounts: -1}
	err := s.reap()
	for _, f := range []*os.File{p.PidFD, p.Console, p.Mounts} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func (s *spawned) closeFiles() {
	fd.Close(s.sock)
	fd.Close(s.console)
	fd.Close(s.mounts)
	s.sock, s.console, s.mounts = -1, -1, -1
}

// kill ends a child that the caller will never see, and reaps it.
func (s *spawned) kill() error {
	if s.reaped || s.child.PidFD < 0 {
		return nil
	}
	s.reaped = true
	s.closeFiles()
	defer func() { fd.Close(s.child.PidFD); s.child.PidFD = -1 }()
	err := unix.PidfdSendSignal(s.child.PidFD, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill init: %w", err)
	}
	return s.reap()
}

// reap waits for the child's end.
func (s *spawned) reap() error {
	var err error = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Waitid(unix.P_PIDFD, s.child.PidFD, nil, unix.WEXITED, nil)
	}
	if err != nil && !errors.Is(err, unix.ECHILD) { // a parent that reaps everything was faster
		return fmt.Errorf("reap init: %w", err)
	}
	return nil
}
