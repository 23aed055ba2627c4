package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// Load puts the program in force for the calling thread and all that it starts
// from now on; there is no way back. Other threads of the process stay as they
// are, which is enough for a container's init: it has locked the goroutine to
// the thread and goes on with execve from there, which ends the other threads.
// The caller has no_new_privs set or CAP_SYS_ADMIN in its user namespace.
//
// A nil Program does nothing. A program with SCMP_ACT_NOTIFY is
// errs.InvalidArgument: see LoadNotify.
func (p *Program) Load() error {
	if p == nil {
		return nil
	}
	if p.Notifies() {
		return errs.New(errs.InvalidArgument, "load seccomp program: it needs a listener for SCMP_ACT_NOTIFY")
	}
	_, err := p.load(0)
	return err
}

// Loadable gives what seccomp(2) takes to put the program in force, for a process
// that does it without this package: the flags, as far as the kernel knows them
// or the profile insists on them, and the instructions, eight bytes each. If the
// program notifies, the call gives the listener, a close-on-exec descriptor.
func (p *Program) Loadable() (flags uint, code []byte) {
	flags = p.Flags()
	if p.flags&flagImplied != 0 && !supported(flags) {
		flags = 0
	}
	if p.Notifies() {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	return flags, unsafe.Slice((*byte)(unsafe.Pointer(&p.filter[0])), len(p.filter)*insnSize)
}

// supported asks the kernel as seccomp(2) says: with flags that it knows, it goes
// on to read the program, which is not there.
func supported(flags uint) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), 0)
	return errno == unix.EFAULT
}

// LoadNotify is Load for a program with SCMP_ACT_NOTIFY. It returns the
// listener, a close-on-exec descriptor that the caller owns.
func (p *Program) LoadNotify() (fd int, err error) {
	if !p.Notifies() {
		return -1, errs.New(errs.InvalidArgument, "load seccomp program: no rule has SCMP_ACT_NOTIFY")
	}
	return p.load(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
}

func (p *Program) load(extra uint) (int, error) {
	if len(p.filter) == 0 || len(p.filter) > MaxInstructions {
		return -1, errs.New(errs.InvalidArgument, "load seccomp program: %d instructions", len(p.filter))
	}
	fd, err := setFilter(p.filter, p.Flags()|extra)
	if errors.Is(err, unix.EINVAL) && p.flags&flagImplied != 0 {
		fd, err = setFilter(p.filter, extra)
	}
	if err != nil {
		return -1, fmt.Errorf("load seccomp program: %w", err)
	}
	return fd, nil
}

// setFilter is seccomp(2) with SECCOMP_SET_MODE_FILTER.
func setFilter(filter []unix.SockFilter, flags uint) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
