package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Placeholder is a process that does nothing but be in a scope. systemd makes a
// scope only for a process that lives, moves that process there, and forgets the
// scope as soon as it is empty; a container's own process is born in its group
// and cannot be there first. The process ends with ours at the latest.
type Placeholder struct {
	child ns.Child
	pipe  int // its end of life is that of this descriptor
}

func newPlaceholder() (*Placeholder, error) {
	exe, err := bare.Executable()
	if err != nil {
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start placeholder: %w", err)
	}
	defer fd.Close(pipe[0])
	const wait, script = 0, 1 // its descriptors
	p := bare.New(wait)
	p.Call(nil, unix.SYS_CLOSE_RANGE, bare.Int(script), bare.Int(^uint32(0)), bare.Int(0))
	p.Call(nil, unix.SYS_READ, bare.Int(wait), p.Slot().Addr(), bare.Int(1)) // until all writers are gone
	p.Call(nil, unix.SYS_EXIT_GROUP, bare.Int(0))
	image, err := p.File()
	if err == nil {
		defer fd.Close(image)
		hold := &Placeholder{pipe: pipe[1]}
		hold.child, err = ns.ForkJoin(func() (ns.Joiner, error) {
			files := []uintptr{uintptr(pipe[0]), uintptr(image)}
			return ns.Joiner{Program: int(exe.Fd()), Argv: bare.Args(script), Files: files, CgroupFD: -1}, nil
		})
		if err == nil {
			return hold, nil
		}
	}
	fd.Close(pipe[1])
	return nil, fmt.Errorf("start placeholder: %w", err)
}

// Release ends the process and waits for its end. It may be called twice, and
// on nil.
func (p *Placeholder) Release() {
	if p == nil || p.pipe < 0 {
		return
	}
	fd.Close(p.pipe)
	p.pipe = -1
	_ = unix.PidfdSendSignal(p.child.PidFD, unix.SIGKILL, nil, 0) // should its group be throttled, it need not run to end
	for errors.Is(unix.Waitid(unix.P_PIDFD, p.child.PidFD, nil, unix.WEXITED, nil), unix.EINTR) {
		continue // any other error: a parent that reaps everything was faster
	}
	fd.Close(p.child.PidFD)
}
