package boot

import (
	"encoding/binary"
	"fmt"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// addLimits adds what belongs to the process and may fail because of the user's
// wishes, so that create says so: terminal, limits, scheduling.
func (b *initializer) addLimits(s script) error {
	p := &b.plan.Process
	if p.Terminal {
		s.call("set controlling terminal", unix.SYS_IOCTL, bare.Int(0), bare.Int(unix.TIOCSCTTY), bare.Int(0))
	}
	if b.plan.Personality != nil {
		s.call("set personality", unix.SYS_PERSONALITY, bare.Int(*b.plan.Personality))
	}
	if m := b.plan.MemoryPolicy; m != nil {
		// The kernel reads one bit less than it is told of.
		s.call("error setting memory policy", unix.SYS_SET_MEMPOLICY, bare.Int(m.Mode), s.Words(m.Nodes...), bare.Int(len(m.Nodes)*64+1))
	}
	if len(p.CPUs) > 0 {
		s.call("error setting CPU affinity", unix.SYS_SCHED_SETAFFINITY, bare.Int(0), bare.Int(len(p.CPUs)*8), s.Words(p.CPUs...))
	}
	for _, l := range p.Rlimits {
		if err := b.addLimit(s, l); err != nil {
			return err
		}
	}
	if sched := p.Scheduler; sched != nil {
		var attr []byte
		for _, w := range []uint32{unix.SizeofSchedAttr, uint32(sched.Policy)} {
			attr = binary.NativeEndian.AppendUint32(attr, w)
		}
		attr = binary.NativeEndian.AppendUint64(attr, sched.Flags)
		for _, w := range []uint32{uint32(sched.Nice), uint32(sched.Priority)} {
			attr = binary.NativeEndian.AppendUint32(attr, w)
		}
		for _, w := range []uint64{sched.Runtime, sched.Deadline, sched.Period, 0} {
			attr = binary.NativeEndian.AppendUint64(attr, w)
		}
		s.call("error setting scheduler", unix.SYS_SCHED_SETATTR, bare.Int(0), s.Bytes(attr), bare.Int(0))
	}
	if io := p.IOPriority; io != nil {
		s.call("set I/O priority", unix.SYS_IOPRIO_SET, bare.Int(1), bare.Int(0), bare.Int(process.IOPriority(io.Class, io.Level)))
	}
	return nil
}

// addLimit adds the setting of a limit, or of what of it is allowed. Whether it
// takes a privilege that is missing shows only then: the one that counts is that
// of the machine's user namespace.
func (b *initializer) addLimit(s script, l process.Rlimit) error {
	set := func(l process.Rlimit) *bare.Call {
		return s.call(fmt.Sprintf("error setting rlimit type %d", l.Resource),
			unix.SYS_PRLIMIT64, bare.Int(0), bare.Int(l.Resource), s.Words(l.Soft, l.Hard), bare.Int(0))
	}
	clamped, err := l.Clamped()
	if err != nil {
		return err
	}
	whole := set(l)
	if b.plan.Process.ExactLimits || clamped == l {
		return nil
	}
	whole.Tolerate(unix.EPERM, 0).IfZero(1)
	set(clamped)
	now, err := capability.Current()
	if err == nil && now.Effective&capability.Bit(unix.CAP_SYS_RESOURCE) == 0 {
		b.warn("resource limit %d is lower than asked for: raising it needs CAP_SYS_RESOURCE", l.Resource)
	}
	return err
}

// addSignals adds the default treatment of the signals that Go leaves ignored if
// its program was started so, by nohup or in the background of a script. It
// would go on to a shell in the container, which then cannot trap them.
func addSignals(s script) {
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(sig) {
			byDefault := s.Words(0, 0, 0, 0) // struct sigaction
			s.call("reset signal", unix.SYS_RT_SIGACTION, bare.Int(sig), byDefault, bare.Int(0), bare.Int(sizeofSigset))
		}
	}
}

// addFinal adds how the process gives up all privileges that the program shall
// not have, and how it turns into it.
func (b *initializer) addFinal(s script) error {
	addSignals(s)
	b.addLabels(s)
	if err := b.addIdentity(s); err != nil {
		return err
	}
	p := &b.plan.Process
	s.call("mark descriptors close-on-exec", unix.SYS_CLOSE_RANGE, bare.Int(b.plan.FDs.FirstClosed), bare.Int(^uint32(0)), bare.Int(unix.CLOSE_RANGE_CLOEXEC))
	if b.plan.WaitLimits {
		s.say(b.sock, FrameLimits)
		s.await(b.sock, s.Slot())
	}
	if b.thread == nil || b.thread.Repeat == 0 { // which has told of the process already
		s.say(b.sock, FrameReady)
	}
	// With no_new_privs anybody may load a filter. Without, it takes
	// CAP_SYS_ADMIN, so the one call that gives up the capabilities comes after
	// the filter, which must allow it.
	if p.NoNewPrivs && p.Caps != nil {
		s.setCaps(*p.Caps)
	}
	if b.filter != nil {
		b.addFilter(s)
	}
	if !p.NoNewPrivs && p.Caps != nil {
		s.setCaps(*p.Caps)
	}
	s.Call(errnoFrame(aboutProgram, b.program), unix.SYS_EXECVE, s.String(b.program), s.Strings(p.Args), s.Strings(b.env))
	return nil
}

// addFilter adds the loading of the seccomp program. If it notifies, the parent
// takes the listener out of the process before anything else happens. What tells
// the parent is a write, which no program may notify (see seccomp.Compile): nobody
// would be there to answer. Whoever listens can answer for the calls after it, the
// read that waits for the parent among them.
func (b *initializer) addFilter(s script) {
	flags, code := b.filter.Loadable()
	prog := s.Words(uint64(len(code)/8), s.Bytes(code).Value())
	load := s.call("load seccomp program", unix.SYS_SECCOMP, bare.Int(unix.SECCOMP_SET_MODE_FILTER), bare.Int(flags), prog)
	if !b.filter.Notifies() {
		return
	}
	listener := s.Slot()
	load.Into(listener)
	s.call("report to the runtime", unix.SYS_WRITE, bare.Int(b.sock), s.Bytes([]byte{FrameListener, 4, 0, 0, 0}), bare.Int(frameHead))
	s.call("report to the runtime", unix.SYS_WRITE, bare.Int(b.sock), listener.Addr(), bare.Int(4))
	s.await(b.sock, s.Slot())
}

// setCaps adds the setting of the effective, permitted and inheritable sets.
func (s script) setCaps(sets capability.Sets) {
	header, data := sets.Encoded()
	s.call("set capabilities", unix.SYS_CAPSET, s.Bytes(header), s.Bytes(data))
}

// addIdentity changes groups and user. All capabilities of the bounding set
// stay permitted and effective until the final capset; the ambient ones are
// raised here, since that is another system call that a filter could forbid.
func (b *initializer) addIdentity(s script) error {
	p := &b.plan.Process
	if p.NoNewPrivs {
		s.prctl("set no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	if p.Caps != nil {
		for _, n := range (capability.Bounding() &^ p.Caps.Bounding).Numbers() {
			s.prctl(fmt.Sprintf("drop capability %d from the bounding set", n), unix.PR_CAPBSET_DROP, n)
		}
	}
	var groups []byte
	for _, g := range p.Groups {
		groups = binary.NativeEndian.AppendUint32(groups, g)
	}
	set := s.call("set supplementary groups", unix.SYS_SETGROUPS, bare.Int(len(p.Groups)), s.Bytes(groups))
	if len(p.Groups) == 0 && (b.plan.UserNS || b.groupsDenied()) {
		set.Tolerate(unix.EPERM, 0) // an unprivileged user namespace in which setgroups is denied
	}
	gid, uid := bare.Int(p.GID), bare.Int(p.UID)
	s.call(fmt.Sprintf("set group id %d", p.GID), unix.SYS_SETRESGID, gid, gid, gid)
	s.prctl("keep capabilities", unix.PR_SET_KEEPCAPS, 1)
	s.call(fmt.Sprintf("set user id %d", p.UID), unix.SYS_SETRESUID, uid, uid, uid)
	if p.Caps == nil {
		return nil
	}
	now, err := capability.Current()
	if err != nil {
		return err
	}
	caps := *p.Caps
	now.Effective = now.Permitted
	now.Inheritable = caps.Inheritable & now.Permitted
	caps.Permitted &= now.Permitted // what we do not have ourselves cannot be given
	caps.Effective &= caps.Permitted
	caps.Inheritable &= now.Permitted
	caps.Ambient &= caps.Permitted & caps.Inheritable
	p.Caps = &caps
	s.setCaps(now)
	s.call("clear ambient capabilities", unix.SYS_PRCTL, bare.Int(unix.PR_CAP_AMBIENT), bare.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), bare.Int(0), bare.Int(0), bare.Int(0))
	for _, n := range caps.Ambient.Numbers() {
		s.call(fmt.Sprintf("raise ambient capability %d", n), unix.SYS_PRCTL,
			bare.Int(unix.PR_CAP_AMBIENT), bare.Int(unix.PR_CAP_AMBIENT_RAISE), bare.Int(n), bare.Int(0), bare.Int(0))
	}
	return nil
}

// groupsDenied tells whether nobody in our user namespace may set groups.
func (b *initializer) groupsDenied() bool {
	file, err := unix.Openat(b.proc, "self/setgroups", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer fd.Close(file)
	buf := make([]byte, 8)
	n, err := unix.Read(file, buf)
	return err == nil && string(buf[:n]) == "deny\n"
}
