package fd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var self = struct {
	sync.Mutex
	file *os.File
}{}

// SealedSelf returns the running program as a file that nobody can write to:
// executing that file instead of the one on disk keeps a container from
// overwriting the runtime through /proc/PID/exe (CVE-2019-5736). One file
// serves the whole process; the caller must not close it.
//
// A long-living process asks for a copy in memory, which is independent of the
// mount it came from. A short one (oneShot) takes a private read-only mount of
// the file, which costs microseconds instead of milliseconds; if the kernel or
// the privileges do not allow that, it gets the copy too.
func SealedSelf(oneShot bool) (*os.File, error) {
	self.Lock()
	defer self.Unlock()
	if self.file != nil {
		return self.file, nil
	}
	var err error
	if oneShot {
		if self.file, err = readOnlySelf(); err == nil {
			return self.file, nil
		}
	}
	self.file, err = copySelf()
	if err != nil {
		return nil, fmt.Errorf("seal the runtime's program: %w", err)
	}
	return self.file, nil
}

// readOnlySelf opens the program through a detached mount that is read-only
// for ever: it is in no mount namespace, so nobody can find it to remount it.
func readOnlySelf() (*os.File, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/exe", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return nil, err
	}
	exe, err := unix.Openat(tree, "", unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) { // a mount of a file has no name to open; its own handle serves
		exe, err = unix.FcntlInt(uintptr(tree), unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(exe), "gantry-runtime"), nil
}

func copySelf() (_ *os.File, err error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	// MFD_EXEC is unknown before Linux 6.3, where it is the only behaviour.
	mfd, err := unix.MemfdCreate("gantry-runtime", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		mfd, err = unix.MemfdCreate("gantry-runtime", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	dst := os.NewFile(uintptr(mfd), "gantry-runtime")
	if _, err = io.Copy(dst, src); err == nil {
		// Executable for all, readable for root only: an init in a user namespace
		// is then not dumpable from its first moment on.
		err = dst.Chmod(0o711)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(mfd), unix.F_ADD_SEALS,
			unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(err, dst.Close())
	}
	return dst, nil
}
