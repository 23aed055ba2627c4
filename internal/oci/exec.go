package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// Exec starts one more process in a container. The caller reaps it.
func (c *Container) Exec(ctx context.Context, o ExecOptions) (_ *Process, err error) {
	if err := c.execAllowed(o.IgnorePaused); err != nil {
		return nil, err
	}
	p, filter, err := c.planExec(o.Process)
	if err != nil {
		return nil, err
	}
	p.Process.User, p.Process.KeepLineEnds = o.User.plan(), o.KeepLineEnds
	var undo cleanup.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.Run())
		}
	}()
	s, err := c.spawnExec(o, p, filter, 0)
	if err != nil {
		return nil, c.orStopped(err)
	}
	defer s.closeFiles()
	undo.Push(func(context.Context) error { return s.kill() })
	c.rt.log.Debug("container has one more process", "container", c.id, "pid", s.child.Pid)
	if c.state.Resctrl != nil {
		if err := c.state.Resctrl.Add(s.child.Pid); err != nil {
			return nil, err
		}
	}
	s.notify = c.notifier(specs.StateRunning)
	if err := s.handshake(ctx, p, filter, false); err != nil {
		return nil, c.orStopped(c.explain(err))
	}
	proc, err := s.process(o.ConsoleSocket)
	if err != nil {
		return nil, err
	}
	undo.Release()
	return proc, nil
}

// orStopped is err, unless the reason is that the container has ended meanwhile.
func (c *Container) orStopped(err error) error {
	if alive, aerr := c.alive(); aerr == nil && !alive {
		return errs.New(errs.Conflict, "cannot exec in a stopped container")
	}
	return err
}

func (c *Container) execAllowed(ignorePaused bool) error {
	status, err := c.Status()
	if err != nil {
		return err
	}
	switch status {
	case specs.StateStopped:
		return errs.New(errs.Conflict, "cannot exec in a stopped container")
	case specs.StateCreating:
		return errs.New(errs.Conflict, "cannot exec in a container that is being created")
	case statusPaused:
		if !ignorePaused {
			return errs.New(errs.Conflict, "cannot exec in a paused container (use --ignore-paused to override)")
		}
	}
	return nil
}

// planExec completes the description of the process with the container's own
// settings.
func (c *Container) planExec(spec *specs.Process) (*plan.Init, *seccomp.Program, error) {
	if spec == nil {
		return nil, nil, errs.New(errs.InvalidArgument, "process property must not be empty")
	}
	c.rt.warnOfCaps(spec.Capabilities)
	process, err := plan.BuildProcess(spec, c.state.Annotations)
	if err != nil {
		return nil, nil, err
	}
	p := &plan.Init{
		ID: c.id, Exec: true, Process: process, Keyring: c.state.Keyring, Personality: c.state.Personality,
		UserNS: c.state.UserNS, MemoryPolicy: c.state.MemoryPolicy,
	}
	if p.Process.Caps == nil {
		p.Process.Caps = c.defaultCaps()
	}
	d := c.state.Defaults
	if p.Process.AppArmor == "" {
		p.Process.AppArmor = d.AppArmor
	}
	if p.Process.SELinux == "" {
		p.Process.SELinux = d.SELinux
	}
	if err := checkLabel(p.Process.SELinux); err != nil {
		return nil, nil, err
	}
	if !c.state.Seccomp {
		return p, nil, nil
	}
	raw, err := fd.ReadFile(c.file(seccompFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read seccomp program: %w", err)
	}
	p.Process.Seccomp = true
	filter := new(seccomp.Program)
	return p, filter, filter.UnmarshalBinary(raw)
}

// threadNamespaces are those that the forking thread joins for its child. Mount
// and cgroup namespace init joins by itself: the sealed program must be found
// through the machine's own /proc before the container's files come into sight.
const threadNamespaces = unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWPID

// kindsToJoin are the namespaces (CLONE_NEW*) that an exec joins: all, but who is
// not the machine's root may not even join those that he is in. That is so for the
// cgroup namespace, too, which is joined from inside of the container's user namespace.
func (c *Container) kindsToJoin(pid int) (int, error) {
	const all = threadNamespaces | unix.CLONE_NEWUSER | unix.CLONE_NEWTIME | unix.CLONE_NEWCGROUP
	rootless := ns.Rootless()
	if !rootless && !c.state.UserNS {
		return all, nil
	}
	shared, err := ns.Shared(pid)
	if !rootless {
		shared &= unix.CLONE_NEWCGROUP
	}
	return all &^ shared, err
}

// joinOf makes the calling thread a member of namespaces of the process behind pidfd.
func joinOf(pidfd, kinds int) error {
	if kinds == 0 {
		return nil
	}
	if err := unix.Setns(pidfd, kinds); err != nil {
		return fmt.Errorf("join namespaces of container: %w", err)
	}
	return nil
}

// cpusFor is where the threads and processes of an exec run.
func (c *Container) cpusFor(p *specs.Process) (plan.Affinity, error) {
	if p.ExecCPUAffinity != nil {
		return plan.BuildAffinity(p.ExecCPUAffinity)
	}
	return plan.BuildAffinity(c.state.ExecCPUs)
}

func (c *Container) spawnExec(o ExecOptions, p *plan.Init, filter *seccomp.Program, repeat time.Duration) (*spawned, error) {
	pid, start := c.process()
	pidfd, err := ns.Open(pid, start)
	if errors.Is(err, unix.ESRCH) {
		return nil, errs.New(errs.Conflict, "cannot exec in a stopped container")
	}
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
	}
	defer fd.Close(pidfd)
	door, err := c.state.Cgroup.Open(o.Cgroups)
	if err != nil {
		return nil, err
	}
	defer door.Close()
	files, err := openNamespacesOf(pid, pidfd, "mnt", "cgroup", "pid")
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
	}
	defer closeAll(files)
	kinds, err := c.kindsToJoin(pid)
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
	}
	root, err := c.openSharedRoot(pid, pidfd)
	if err != nil {
		return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
	}
	defer fd.Close(root)
	b := &birth{
		io: o.IO, preserve: o.PreserveFDs, extra: files[:2:2], door: door, oneShot: c.rt.oneShot, log: c.rt.log,
		prepare: func() error { return joinOf(pidfd, kinds&threadNamespaces) },
	}
	if o.Process.Terminal {
		b.io = IO{}
	}
	if o.OwnIO && c.state.UserNS {
		if err := b.io.giveTo(pid); err != nil {
			return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
		}
	}
	b.oomScore, b.exact = p.Process.OOMScoreAdj, p.Process.ExactLimits
	if p.UserNS {
		b.limits = p.Process.Rlimits
	}
	cpus, err := c.cpusFor(o.Process)
	if err != nil {
		return nil, err
	}
	b.cpus, p.Process.CPUs = cpus.Initial, cpus.Final
	hasCgroupNS := kinds&unix.CLONE_NEWCGROUP != 0
	if !c.state.UserNS && boot.Threadable(p, 0) {
		p.FDs, b.extra = plan.FDs{MountNS: files[0]}, nil // the thread joins it, or its script does
		p.RootFD = max(root, 0)
		if hasCgroupNS {
			p.FDs.CgroupNS = files[1]
		}
		t := &threadBirth{plan: p, pidNS: -1, timeNS: -1, listener: -1, repeat: repeat}
		if c.state.TimeNS {
			time, err := openNamespacesOf(pid, pidfd, "time")
			if err != nil {
				return nil, fmt.Errorf("exec in container %q: %w", c.id, err)
			}
			defer closeAll(time)
			t.timeNS = time[0]
		}
		if kinds&unix.CLONE_NEWPID != 0 {
			t.pidNS = files[2]
		}
		t.ready = func() (groundwork, error) { return groundwork{door: b.door, filter: filter}, nil }
		t.enter = func() error { return joinOf(pidfd, kinds&threadNamespaces&^unix.CLONE_NEWPID) }
		return c.besideIfBusy(o, b, pid, func() (*spawned, error) { return b.spawnOnThread(t) })
	}
	if c.state.UserNS || c.state.TimeNS {
		b.joinByChild(pidfd, kinds&(threadNamespaces|c.ownKinds()))
	}
	p.FDs = plan.FDs{FirstClosed: b.sockFD(), MountNS: b.sockFD() + 1}
	if hasCgroupNS {
		p.FDs.CgroupNS = b.sockFD() + 2
	}
	if root >= 0 {
		p.RootFD = b.sockFD() + 1 + len(b.extra)
		b.extra = append(b.extra, root)
	}
	return c.besideIfBusy(o, b, pid, b.spawn)
}

// ownKinds are the namespaces of the container's own among those that only a
// process with one thread can join.
func (c *Container) ownKinds() (kinds int) {
	if c.state.UserNS {
		kinds |= unix.CLONE_NEWUSER
	}
	if c.state.TimeNS {
		kinds |= unix.CLONE_NEWTIME
	}
	return kinds
}

// joinByChild leaves the joining to the child, which alone can join a user or
// time namespace. Only the PID namespace is the forking thread's to join, as it
// takes effect for children; for an ordinary user, who may not join it from
// outside, the child forks once more.
func (b *birth) joinByChild(pidfd, kinds int) {
	b.beRoot = kinds&unix.CLONE_NEWUSER != 0
	if b.again = b.beRoot && !mayMount(); b.again {
		b.joins, b.prepare = []ns.Membership{{FD: pidfd, Kinds: kinds}}, nil
		return
	}
	if late := kinds &^ unix.CLONE_NEWPID; late != 0 {
		b.joins = []ns.Membership{{FD: pidfd, Kinds: late}}
	}
	b.prepare = func() error { return joinOf(pidfd, kinds&unix.CLONE_NEWPID) }
}

// besideIfBusy spawns, and once more where the container's init is now if the
// container's group takes no processes itself: a v2 group that has groups with
// controllers below it does not.
func (c *Container) besideIfBusy(o ExecOptions, b *birth, pid int, spawn func() (*spawned, error)) (*spawned, error) {
	s, err := spawn()
	if !errors.Is(err, unix.EBUSY) || len(o.Cgroups) > 0 {
		return s, err
	}
	unified, err := c.state.Cgroup.OpenOf(pid)
	if err != nil {
		return nil, err
	}
	defer fd.Close(unified)
	b.door = cgroup.UnifiedDoor(unified, b.door)
	return spawn()
}

// openNamespacesOf opens namespaces of the process behind pidfd. That it still
// lives afterwards proves that its pid was not another's meanwhile.
func openNamespacesOf(pid, pidfd int, kinds ...string) (all []int, err error) {
	defer func() {
		if err != nil {
			for _, h := range all {
				fd.Close(h)
			}
		}
	}()
	for _, kind := range kinds {
		h, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return all, fmt.Errorf("open %s namespace: %w", kind, err)
		}
		all = append(all, h)
	}
	ended, err := ns.WaitExit(pidfd, 0)
	if err == nil && ended {
		err = errs.New(errs.Conflict, "the container has stopped")
	}
	return all, err
}
