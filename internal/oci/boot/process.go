package boot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/linux/tty"
)

// join makes this process a member of the container whose namespaces it has
// been born in, but for those that a whole process can only enter by itself.
func (b *initializer) join() error {
	fds := b.plan.FDs
	if fds.CgroupNS > 0 && b.thread == nil { // else addBirth does it
		if err := unix.Setns(fds.CgroupNS, unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("join cgroup namespace: %w", err)
		}
	}
	if err := b.joinMounts(); err != nil {
		return err
	}
	if h := b.plan.RootFD; h > 0 {
		if err := mount.ChangeRoot(h); err != nil {
			return err
		}
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	b.root = mount.RootAt(root)
	return nil
}

// prepare does what may fail because of the user's wishes, so that create says
// so: terminal, working directory, program.
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
	if err := b.enterCwd(); err != nil {
		return err
	}
	program, err := lookProgram(p.Args[0], b.env)
	if err != nil {
		return err
	}
	b.program = program
	return b.fixStreams()
}

// openTerminal gives the process a terminal of the container's own devpts as
// its standard streams and sends the other end to the parent.
func (b *initializer) openTerminal() error {
	p := &b.plan.Process
	if !p.Terminal {
		return nil
	}
	pair, err := tty.Open(b.root, b.proc)
	if err != nil {
		return err
	}
	defer pair.Close() // of what useTerminal has not taken
	if p.KeepLineEnds {
		if err := tty.KeepLineEnds(pair.Slave); err != nil {
			return err
		}
	}
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
	return b.useTerminal(&pair)
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
	defer func() { b.release(null) }()
	for stream := range 3 {
		if !mount.IsDevice(b.stream(stream), 1, 3) {
			continue
		}
		if null < 0 {
			h, err := b.root.OpenDevice(b.proc, "/dev/null", 1, 3, unix.O_RDWR)
			if errors.Is(err, unix.ENOENT) || errors.Is(err, mount.ErrOtherFile) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("open the container's /dev/null: %w", err)
			}
			null = h
		}
		if err := b.setStream(stream, null); err != nil {
			return fmt.Errorf("reopen stream %d: %w", stream, err)
		}
	}
	return nil
}

// enterCwd changes to the working directory. Where only the user may go (a
// directory on NFS, say) it does so with the user's rights.
func (b *initializer) enterCwd() error {
	p := &b.plan.Process
	err := unix.Chdir(p.Cwd)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = process.AsUser(p.UID, p.GID, p.Groups, func() error { return unix.Chdir(p.Cwd) })
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
		h := b.stream(stream)
		var st unix.Stat_t
		if err := unix.Fstat(h, &st); err != nil {
			return fmt.Errorf("stat stream %d: %w", stream, err)
		}
		if st.Uid == p.UID || mount.IsDevice(h, 1, 3) {
			continue
		}
		err := unix.Fchown(h, int(p.UID), int(st.Gid))
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

func execKind(err error) errs.Kind {
	if errors.Is(err, unix.ENOENT) {
		return errs.NotFound
	}
	return errs.Permission
}
