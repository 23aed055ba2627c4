package oci

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
)

// hostMounts makes the mounts that the container cannot make: those whose ids are
// mapped, those from another mount namespace and, for an init in a user namespace, which may have no rights there, the
// root filesystem and everything else that comes from the machine. first is the
// number that the first one gets in init; with onThread they are used from here.
// The descriptors are the caller's.
func (job *creation) hostMounts(j *joined, first int, onThread bool) (all []int, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	root, prepare := job.plan.Root, job.plan.UserNS && mayMount()
	keep := func(h int) int {
		all = append(all, h)
		if onThread {
			return h
		}
		return first + len(all) - 1
	}
	if prepare {
		h, place := -1, -1
		err := j.inMounts(func() (err error) {
			if root.Shared {
				h, place, err = boot.PrepareSharedRoot(root)
			} else {
				h, err = boot.PrepareRoot(root)
			}
			return err
		})
		if err != nil {
			return all, err
		}
		if root.FD = keep(h); root.Shared {
			root.PlaceFD = keep(place)
		}
	}
	for i := range root.Targets {
		m := &root.Targets[i]
		if !m.Options.Bind || !prepare && !m.Options.IDMap && m.Options.Namespace == "" {
			continue
		}
		users := -1
		if m.Options.IDMap {
			if !mayMount() {
				return all, errs.New(errs.Unsupported, "map ids of mount %s: an ordinary user cannot do that", m.Target)
			}
			if users, err = job.userNSOf(j, job.spec.Mounts[i]); err != nil {
				return all, fmt.Errorf("map ids of mount %s: %w", m.Target, err)
			}
		}
		h := -1
		err = j.inMounts(func() (err error) { h, err = boot.PrepareBind(root, *m, users); return err })
		fd.Close(users)
		if err != nil {
			return all, err
		}
		m.FD = keep(h)
	}
	return all, nil
}

// userNSOf is a user namespace with the mappings that a mount is to have: its own,
// or else the container's. The descriptor is the caller's.
func (job *creation) userNSOf(j *joined, m specs.Mount) (int, error) {
	if len(m.UIDMappings) > 0 {
		return newUserNS(m.UIDMappings, m.GIDMappings)
	}
	if h := j.of(unix.CLONE_NEWUSER); h >= 0 {
		return fd.Duplicate(h)
	}
	return newUserNS(job.spec.Linux.UIDMappings, job.spec.Linux.GIDMappings)
}

// newUserNS makes a user namespace in which nobody lives. Only a process can be its
// maker; one that is forgotten ends with this process, at the end of its input.
func newUserNS(uids, gids []specs.LinuxIDMapping) (int, error) {
	exe, err := bare.Executable()
	if err != nil {
		return -1, err
	}
	null, err := fd.DevNull()
	if err != nil {
		return -1, err
	}
	program := bare.New(2)
	program.Call(nil, unix.SYS_READ, bare.Int(0), program.Slot().Addr(), bare.Int(1))
	program.Call(nil, unix.SYS_EXIT_GROUP, bare.Int(0))
	script, err := program.File()
	if err != nil {
		return -1, err
	}
	defer fd.Close(script)
	var input [2]int
	if err := unix.Pipe2(input[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	defer closeAll(input[:])
	const number = 3 // of the script
	child, err := ns.Fork("/proc/self/fd/"+strconv.Itoa(int(exe.Fd())), bare.Args(number), &syscall.ProcAttr{
		Dir: "/", Files: []uintptr{uintptr(input[0]), null.Fd(), null.Fd(), uintptr(script)},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: idMap(uids), GidMappings: idMap(gids)},
	}, nil)
	if errors.Is(err, unix.EINVAL) {
		return -1, errs.New(errs.InvalidArgument, "uidMappings %v, gidMappings %v: %w", uids, gids, unix.EINVAL)
	}
	if err != nil {
		return -1, fmt.Errorf("create user namespace: %w", err)
	}
	users, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", child.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	maker := spawned{child: child, sock: -1, console: -1, mounts: -1}
	if err = errors.Join(err, maker.kill()); err != nil {
		fd.Close(users)
		return -1, fmt.Errorf("create user namespace: %w", err)
	}
	return users, nil
}
