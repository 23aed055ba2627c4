package boot

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// addLabels names the security context that the program gets at execve.
func (b *initializer) addLabels(s script) {
	p := &b.plan.Process
	if p.AppArmor != "" {
		name := "thread-self/attr/apparmor/exec"
		if !b.hasProc("self/attr/apparmor") {
			name = "thread-self/attr/exec" // before Linux 5.8
		}
		b.addProcWrite(s, "unable to apply apparmor profile: apparmor failed to apply profile "+p.AppArmor, name, "exec "+p.AppArmor)
	}
	if p.SELinux != "" {
		b.addProcWrite(s, "unable to apply SELinux label "+p.SELinux, "thread-self/attr/exec", p.SELinux)
	}
}

// hasProc tells whether the machine's procfs has a file.
func (b *initializer) hasProc(name string) bool {
	return unix.Faccessat(b.proc, name, unix.F_OK, 0) == nil
}

// addProcWrite is writeProc as system calls of the process itself. A kernel that
// does not have the file is one that cannot do it; one that refuses what is
// written has its reason.
func (b *initializer) addProcWrite(s script, what, name, value string) {
	file := s.Slot()
	s.Call(errnoFrame(aboutUnsupported, what), unix.SYS_OPENAT2, b.inChild(b.proc), s.String(name), s.Words(procHow.Flags, 0, procHow.Resolve), bare.Int(unix.SizeofOpenHow)).Into(file)
	s.call(what, unix.SYS_WRITE, file.Value(), s.String(value), bare.Int(len(value)))
}

// joinKeyring gives the container its session keyring. SELinux labels it as the
// container's processes, which could not use it otherwise; execve ends that.
func (b *initializer) joinKeyring() error {
	if b.plan.Keyring == "" {
		return nil
	}
	if label := b.plan.Process.SELinux; label != "" {
		if err := b.writeProc("thread-self/attr/keycreate", label); err != nil {
			return fmt.Errorf("label session keyring: %w", err)
		}
	}
	return process.SessionKeyring(b.plan.Keyring)
}

// withContext adds the SELinux context of all files of a new filesystem to its options.
func (b *initializer) withContext(options []string) []string {
	if label := b.plan.Root.MountLabel; label != "" {
		return append(slices.Clip(options), "context="+label)
	}
	return options
}

// labelRoot labels the root directory of a filesystem that is there already, as
// the message queues of an IPC namespace are: its context cannot change.
func (b *initializer) labelRoot(d *mount.Detached) error {
	label := b.plan.Root.MountLabel
	if label == "" {
		return nil
	}
	dir, err := unix.Openat(d.FD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Fsetxattr(dir, "security.selinux", []byte(label), 0)
		fd.Close(dir)
	}
	if err != nil && !errors.Is(err, unix.ENOTSUP) { // a policy without labels for it
		d.Close()
		return fmt.Errorf("set label %s: %w", label, err)
	}
	return nil
}
