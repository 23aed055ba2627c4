// Package userns makes user namespaces in which nobody lives, and network
// namespaces that belong to them. Both are known by open files only and end with
// the last of these and the last process inside.
//
// What ids a user namespace maps is the caller's affair, as is everything that
// happens inside.
package userns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// New makes a user namespace with the given mappings. Ids that overlap or are too
// many for the kernel give errs.InvalidArgument.
func New(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	files, err := create(uids, gids, 0, "user")
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// NewWithNet is New and makes a network namespace that belongs to the user
// namespace: its root has the capabilities of an administrator there. The user
// namespace can be found by Owner.
func NewWithNet(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	files, err := create(uids, gids, unix.CLONE_NEWNET, "net")
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// create forks a process that is the namespaces' first member and ends as soon as
// they are open.
func create(uids, gids []syscall.SysProcIDMap, more uintptr, kinds ...string) ([]*os.File, error) {
	fork := func(program, script int, files []uintptr) (ns.Child, error) {
		return ns.Fork("/proc/self/fd/"+strconv.Itoa(program), bare.Args(script), &syscall.ProcAttr{
			Dir: "/", Files: files,
			Sys: &syscall.SysProcAttr{
				Cloneflags: unix.CLONE_NEWUSER | more, UidMappings: uids, GidMappings: gids, GidMappingsEnableSetgroups: true,
			},
		}, nil)
	}
	files, err := born(fork, kinds)
	if errors.Is(err, unix.EINVAL) {
		return nil, errs.New(errs.InvalidArgument, "uidMappings %v, gidMappings %v: %w", uids, gids, unix.EINVAL)
	}
	if err != nil {
		return nil, fmt.Errorf("create user namespace: %w", err)
	}
	return files, nil
}

// NetIn makes a network namespace that belongs to a user namespace which exists.
func NetIn(user *os.File) (*os.File, error) {
	fork := func(program, script int, files []uintptr) (ns.Child, error) {
		return ns.ForkJoin(func() (ns.Joiner, error) {
			return ns.Joiner{
				Program: program, Argv: bare.Args(script), Files: files, CgroupFD: -1, Clone: unix.CLONE_NEWNET,
				OwnMemory: true, BeRoot: true, Again: true, Joins: []ns.Membership{{FD: int(user.Fd()), Kinds: unix.CLONE_NEWUSER}},
			}, nil
		})
	}
	files, err := born(fork, []string{"net"})
	if err != nil {
		return nil, fmt.Errorf("create network namespace in user namespace: %w", err)
	}
	return files[0], nil
}

// born lets a process be made that does nothing and opens its namespaces. One that
// is forgotten ends with this process, at the end of its input.
func born(fork func(program, script int, files []uintptr) (ns.Child, error), kinds []string) (_ []*os.File, err error) {
	exe, err := bare.Executable()
	if err != nil {
		return nil, err
	}
	null, err := fd.DevNull()
	if err != nil {
		return nil, err
	}
	program := bare.New(2)
	program.Call(nil, unix.SYS_READ, bare.Int(0), program.Slot().Addr(), bare.Int(1))
	program.Call(nil, unix.SYS_EXIT_GROUP, bare.Int(0))
	script, err := program.File()
	if err != nil {
		return nil, err
	}
	defer fd.Close(script)
	var input [2]int
	if err := unix.Pipe2(input[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer fd.Close(input[0])
	defer fd.Close(input[1])
	const number = 3 // of the script
	child, err := fork(int(exe.Fd()), number, []uintptr{uintptr(input[0]), null.Fd(), null.Fd(), uintptr(script)})
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, kind := range kinds {
		file, oerr := os.Open(fmt.Sprintf("/proc/%d/ns/%s", child.Pid, kind))
		if err = oerr; err != nil {
			break
		}
		files = append(files, file)
	}
	if err = errors.Join(err, end(child)); err != nil {
		for _, f := range files {
			_ = f.Close() // only a handle
		}
		return nil, err
	}
	return files, nil
}

// end kills and reaps a child.
func end(c ns.Child) error {
	defer fd.Close(c.PidFD)
	if err := unix.PidfdSendSignal(c.PidFD, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end first process: %w", err)
	}
	for {
		err := unix.Waitid(unix.P_PIDFD, c.PidFD, nil, unix.WEXITED, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil && !errors.Is(err, unix.ECHILD) { // who reaps everything was faster
			return fmt.Errorf("reap first process: %w", err)
		}
		return nil
	}
}

// Owner opens the user namespace that a namespace belongs to; nil if it is the
// caller's own. One that is no descendant of the caller's gives errs.Permission.
func Owner(namespace *os.File) (*os.File, error) {
	h, err := unix.IoctlRetInt(int(namespace.Fd()), unix.NS_GET_USERNS)
	if errors.Is(err, unix.EPERM) {
		return nil, errs.New(errs.Permission, "find owner of namespace: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("find owner of namespace: %w", err)
	}
	owner := os.NewFile(uintptr(h), "user")
	info, err := owner.Stat()
	if err == nil {
		var ours os.FileInfo
		if ours, err = os.Stat("/proc/self/ns/user"); err == nil && !os.SameFile(info, ours) {
			return owner, nil
		}
	}
	return nil, errors.Join(err, owner.Close())
}
