package boot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/linux/tty"
)

// join makes this process a member of the container whose namespaces it has
// been born in, but for those that a whole process can only enter by itself.
func (b *initializer) join() error {
	fds := b.plan.FDs
	if fds.CgroupNS > 0 {
		if err := unix.Setns(fds.CgroupNS, unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("join cgroup namespace: %w", err)
		}
	}
	if fds.MountNS > 0 {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
		if err := unix.Setns(fds.MountNS, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join mount namespace: %w", err)
		}
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	b.root = mount.RootAt(root)
	if b.plan.Personality != nil {
		return process.SetPersonality(*b.plan.Personality)
	}
	return nil
}

// prepare does what may fail because of the user's wishes, so that create says
// so: terminal, working directory, program, limits.
func (b *initializer) prepare() error {
	p := &b.plan.Process
	if err := b.openTerminal(); err != nil {
		return err
	}
	if err := b.reopenNull(); err != nil {
		return err
	}
	umask := 0o022
	if p.Umask != nil {
		umask = int(*p.Umask)
	}
	unix.Umask(umask)
	if err := b.resolveUser(); err != nil {
		return err
	}
	b.env = b.environment()
	if err := b.enterCwd(true); err != nil {
		return err
	}
	program, err := lookProgram(p.Args[0], b.env)
	if err != nil {
		return err
	}
	b.program = program
	for _, l := range p.Rlimits {
		clamped, err := process.SetRlimit(l, !p.ExactLimits)
		if err != nil {
			return err
		}
		if clamped {
			b.warn("resource limit %d is lower than asked for: raising it needs CAP_SYS_RESOURCE", l.Resource)
		}
	}
	return b.setScheduling()
}

func (b *initializer) setScheduling() error {
	p := &b.plan.Process
	if s := p.Scheduler; s != nil {
		attr := unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: uint32(s.Policy), Flags: s.Flags, Nice: s.Nice,
			Priority: uint32(s.Priority), Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
		}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			return fmt.Errorf("error setting scheduler: %w", err)
		}
	}
	if io := p.IOPriority; io != nil {
		return process.SetIOPriority(io.Class, io.Level)
	}
	return nil
}

// openTerminal gives the process a terminal of the container's own devpts as
// its standard streams and sends the other end to the parent.
func (b *initializer) openTerminal() error {
	p := &b.plan.Process
	if !p.Terminal {
		return nil
	}
	pair, err := tty.Open(b.root)
	if err != nil {
		return err
	}
	defer pair.Close()
	if p.Height != 0 || p.Width != 0 {
		if err := tty.Resize(pair.Slave, p.Height, p.Width); err != nil {
			return err
		}
	}
	if !b.plan.Exec {
		if err := b.bindConsole(pair.Slave); err != nil {
			return fmt.Errorf("bind /dev/console: %w", err)
		}
	}
	for stream := range 3 {
		if err := unix.Dup3(pair.Slave, stream, 0); err != nil {
			return fmt.Errorf("attach terminal: %w", err)
		}
	}
	if err := tty.MakeControlling(0); err != nil {
		return err
	}
	return fd.WriteFrame(b.sock, fd.Frame{Kind: FrameConsole, FDs: []int{pair.Master}})
}

// bindConsole shows the terminal as /dev/console too. The mount is made of the
// open slave, not of its name (CVE-2025-52565).
func (b *initializer) bindConsole(slave int) error {
	target, err := b.root.OpenOrCreate("/dev/console", false)
	if err != nil {
		return err
	}
	defer fd.Close(target)
	d, err := mount.Clone(slave, "", false)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Attach(target)
}

// reopenNull replaces standard streams that are the machine's null device by
// the container's, since the file belongs to a mount outside of it.
func (b *initializer) reopenNull() error {
	null := -1
	defer func() { fd.Close(null) }()
	for stream := range 3 {
		if !mount.IsDevice(stream, 1, 3) {
			continue
		}
		if null < 0 {
			h, err := b.root.Open("/dev/null", unix.O_RDWR)
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("open the container's /dev/null: %w", err)
			}
			if null = h; !mount.IsDevice(null, 1, 3) {
				return nil
			}
		}
		if err := unix.Dup3(null, stream, 0); err != nil {
			return fmt.Errorf("reopen stream %d: %w", stream, err)
		}
	}
	return nil
}

// enterCwd changes to the working directory. Where only the user may go (a
// directory on NFS, say) the first attempt, as root, is allowed to fail.
func (b *initializer) enterCwd(first bool) error {
	p := &b.plan.Process
	err := unix.Chdir(p.Cwd)
	if err != nil && first && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		b.lateDir = true
		return nil
	}
	if err != nil {
		kind := errs.InvalidArgument
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) {
			kind = errs.Permission
		}
		if errors.Is(err, unix.ENOENT) {
			kind = errs.NotFound
		}
		return errs.New(kind, "chdir to cwd (%q) set in config.json failed: %w", p.Cwd, err)
	}
	// A directory outside the root, reached through a leaked descriptor, has no
	// name in here (CVE-2024-21626).
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil || n < 2 || buf[0] != '/' {
		return errs.New(errs.Permission, "current working directory is outside of container mount namespace root -- possible container breakout detected")
	}
	return nil
}

// fixStreams gives the pipes behind the standard streams to the container's
// user, who could not reopen /dev/stdout otherwise. The terminal is one too.
func (b *initializer) fixStreams() error {
	p := &b.plan.Process
	for stream := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(stream, &st); err != nil {
			return fmt.Errorf("stat stream %d: %w", stream, err)
		}
		if st.Uid == p.UID || mount.IsDevice(stream, 1, 3) {
			continue
		}
		err := unix.Fchown(stream, int(p.UID), int(st.Gid))
		for _, harmless := range []error{unix.EINVAL, unix.EPERM, unix.EROFS, unix.EACCES} {
			if errors.Is(err, harmless) {
				err = nil // a file of somebody else's or of another user namespace
			}
		}
		if err != nil {
			return fmt.Errorf("give stream %d to user %d: %w", stream, p.UID, err)
		}
	}
	return nil
}

// become gives up all privileges that the program shall not have and turns
// into it.
func (b *initializer) become() error {
	p := &b.plan.Process
	if err := b.fixStreams(); err != nil {
		return err
	}
	if err := b.setLabels(); err != nil {
		return err
	}
	if p.NoNewPrivs {
		if err := process.NoNewPrivileges(); err != nil {
			return err
		}
	}
	if p.Caps != nil {
		if err := capability.DropBounding(p.Caps.Bounding); err != nil {
			return err
		}
	}
	if err := b.setIdentity(); err != nil {
		return err
	}
	if b.lateDir {
		if err := b.enterCwd(false); err != nil {
			return err
		}
	}
	if err := fd.CloseExecFrom(b.plan.FDs.FirstClosed); err != nil {
		return err
	}
	// From here on no thread must be started: the limit may not allow one.
	if b.plan.WaitLimits {
		if err := fd.Exchange(b.sock, FrameLimits, true); err != nil {
			return fmt.Errorf("wait for limits: %w", err)
		}
	}
	if err := fd.Exchange(b.sock, FrameReady, false); err != nil {
		return fmt.Errorf("report readiness: %w", err)
	}
	// With no_new_privs anybody may load a filter. Without, it takes
	// CAP_SYS_ADMIN, so the one call that gives up the capabilities comes after
	// the filter, which must allow it.
	if p.NoNewPrivs && p.Caps != nil {
		if err := capability.Set(*p.Caps); err != nil {
			return err
		}
	}
	if err := b.filter.Load(); err != nil {
		return err
	}
	if !p.NoNewPrivs && p.Caps != nil {
		if err := capability.Set(*p.Caps); err != nil {
			return err
		}
	}
	err := unix.Exec(b.program, p.Args, b.env)
	return &programError{program: b.program, err: errs.Wrap(execKind(err), err)}
}

func execKind(err error) errs.Kind {
	if errors.Is(err, unix.ENOENT) {
		return errs.NotFound
	}
	return errs.Permission
}

// setIdentity changes groups and user. All capabilities of the bounding set
// stay permitted and effective until the final capset; the ambient ones are
// raised here, since that is another system call that a filter could forbid.
func (b *initializer) setIdentity() error {
	p := &b.plan.Process
	err := process.SetGroups(p.Groups)
	if err != nil && b.plan.UserNS && len(p.Groups) == 0 && errors.Is(err, unix.EPERM) {
		err = nil // an unprivileged user namespace in which setgroups is denied
	}
	if err != nil {
		return err
	}
	if err := process.SetGID(p.GID); err != nil {
		return err
	}
	if err := process.SetUID(p.UID, true); err != nil {
		return err
	}
	if p.Caps == nil {
		return nil
	}
	now, err := capability.Current()
	if err != nil {
		return err
	}
	now.Effective = now.Permitted
	now.Inheritable = p.Caps.Inheritable & now.Permitted
	p.Caps.Permitted &= now.Permitted // what we do not have ourselves cannot be given
	p.Caps.Effective &= p.Caps.Permitted
	p.Caps.Inheritable &= now.Permitted
	p.Caps.Ambient &= p.Caps.Permitted & p.Caps.Inheritable
	if err := capability.Set(now); err != nil {
		return err
	}
	return capability.RaiseAmbient(p.Caps.Ambient)
}

// setLabels names the security context that the program gets at execve.
func (b *initializer) setLabels() error {
	p := &b.plan.Process
	if p.AppArmor != "" {
		if err := b.writeProc("thread-self/attr/apparmor/exec", "exec "+p.AppArmor); err != nil {
			return errs.New(errs.Unsupported, "unable to apply apparmor profile %s: %w", p.AppArmor, err)
		}
	}
	if p.SELinux != "" {
		if err := b.writeProc("thread-self/attr/exec", p.SELinux); err != nil {
			return errs.New(errs.Unsupported, "unable to apply SELinux label %s: %w", p.SELinux, err)
		}
	}
	return nil
}
