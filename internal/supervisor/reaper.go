package supervisor

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper waits for child processes by their pidfds: one thread and one epoll
// set for all of them, where a blocking wait4 would cost a thread each.
type reaper struct {
	epfd int

	mu    sync.Mutex
	procs map[int32]*child // by pidfd
}

type child struct {
	pid    int
	pidfd  *os.File
	onExit func(status)
}

// status is how a process ended, in shell terms: 128+n for signal n.
type status struct {
	code   int
	signal unix.Signal // 0 if it exited by itself
	known  bool        // false if somebody else reaped it
}

func newReaper() (*reaper, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll set for children: %w", err)
	}
	r := &reaper{epfd: epfd, procs: map[int32]*child{}}
	go r.loop() // both end with the process: the supervisor has no other end
	go r.orphans()
	return r, nil
}

// add watches a child. onExit is called once, on a goroutine of its own, after
// the child has been reaped. The reaper closes pidfd.
func (r *reaper) add(pid int, pidfd *os.File, onExit func(status)) error {
	fd := int32(pidfd.Fd())
	r.mu.Lock()
	r.procs[fd] = &child{pid: pid, pidfd: pidfd, onExit: onExit}
	r.mu.Unlock()
	err := unix.EpollCtl(r.epfd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: fd})
	if err != nil {
		r.mu.Lock()
		delete(r.procs, fd)
		r.mu.Unlock()
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	return nil
}

// kill kills a child, and killGroup the process group of one that leads it, unless
// the child has been reaped: then its number may be another's.
func (r *reaper) kill(pid int)      { r.signal(pid, pid) }
func (r *reaper) killGroup(pid int) { r.signal(pid, -pid) }

func (r *reaper) signal(child, target int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.procs {
		if c.pid == child {
			_ = unix.Kill(target, unix.SIGKILL) // it cannot be denied, and what has ended is what is wanted
			return
		}
	}
}

func (r *reaper) loop() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(r.epfd, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("wait for children: %v", err)) // only a bug gives EBADF or EINVAL
		}
		for _, ev := range events[:n] {
			r.reap(ev.Fd)
		}
	}
}

func (r *reaper) reap(fd int32) {
	r.mu.Lock()
	c := r.procs[fd]
	delete(r.procs, fd)
	r.mu.Unlock()
	if c == nil {
		return
	}
	st, ours := wait(c.pid)
	_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_DEL, int(fd), nil) // closing removes it anyway
	go func() {
		if !ours { // adopted after an earlier supervisor died
			st = strangerStatus(int(fd))
		}
		_ = c.pidfd.Close()
		c.onExit(st)
	}()
}

// wait collects an ended process. It fails for one that is not our child.
func wait(pid int) (status, bool) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return decode(ws), err == nil
	}
}

func decode(ws unix.WaitStatus) status {
	if ws.Signaled() {
		return status{code: 128 + int(ws.Signal()), signal: ws.Signal(), known: true}
	}
	return status{code: ws.ExitStatus(), known: true}
}
