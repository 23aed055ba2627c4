// Package ns deals in namespaces and in the birth of processes inside them:
// threads that join namespaces and cgroups in order to fork from there, pidfds,
// and the start times that tell a process from a later one with the same pid.
//
// A thread that changed itself is never used again: it ends with its
// goroutine, and it is never the process's main thread, which cannot end.
package ns

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// OnThread runs f on an operating system thread of its own that ends
// afterwards, so f may change what belongs to the thread: namespaces, cgroups,
// working directory, credentials. It waits for f, not for the thread's end.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go onThread(f, done)
	return <-done
}

func onThread(f func() error, done chan<- error) {
	runtime.LockOSThread() // and never unlock: the thread dies with this goroutine
	if unix.Gettid() != os.Getpid() {
		fineTimers()
		done <- f()
		return
	}
	// The main thread would not die but sleep for ever with what f made of it.
	// While this goroutine holds it, another one is sure to be elsewhere.
	inner := make(chan error)
	go onThread(f, inner)
	err := <-inner
	runtime.UnlockOSThread()
	done <- err
}

// Thread is a thread as OnThread makes one that has begun before it is known what it
// is for. A nil Thread begins when it is needed. It is not for concurrent use.
type Thread struct {
	work chan func() error // closed if there is none
	done chan error
	over bool
}

// Begin starts a thread with what it can do already. Whoever calls it calls End.
func Begin(first func() error) *Thread {
	t := &Thread{work: make(chan func() error), done: make(chan error, 1)}
	go onThread(func() error {
		err := first()
		if f := <-t.work; err == nil && f != nil {
			err = f()
		}
		return err
	}, t.done)
	return t
}

// Do runs f on the thread, which ends afterwards. If what it began with failed, f
// does not run and the error is that.
func (t *Thread) Do(f func() error) error {
	if t == nil {
		return OnThread(f)
	}
	t.over = true
	t.work <- f
	return <-t.done
}

// End gives a thread up that has nothing to do.
func (t *Thread) End() {
	if t == nil || t.over {
		return
	}
	t.over = true
	close(t.work)
	<-t.done // that it failed matters to nobody
}

// Child is what Fork made.
type Child struct {
	Pid   int
	PidFD int // close-on-exec, the caller's
}

// Fork starts program (a path that is resolved in the caller's mount namespace)
// from a thread on which prepare ran first, so that the child inherits the
// namespaces and v1 cgroups that prepare joined. attr is as for
// syscall.ForkExec; its Sys is filled in with the pidfd.
func Fork(program string, argv []string, attr *syscall.ProcAttr, prepare func() error) (Child, error) {
	c := Child{PidFD: -1}
	err := OnThread(func() error {
		if prepare != nil {
			if err := prepare(); err != nil {
				return err
			}
		}
		if attr.Sys == nil {
			attr.Sys = &syscall.SysProcAttr{}
		}
		attr.Sys.PidFD = &c.PidFD
		pid, err := syscall.ForkExec(program, argv, attr)
		if err != nil {
			return fmt.Errorf("fork %s: %w", argv[0], err)
		}
		c.Pid = pid
		return nil
	})
	if err != nil {
		return Child{PidFD: -1}, err
	}
	if c.PidFD < 0 { // a kernel without CLONE_PIDFD; the child is not reaped yet, so its pid is its own
		c.PidFD, err = unix.PidfdOpen(c.Pid, 0)
	}
	return c, err
}

// Join makes the calling thread a member of the namespace behind file.
// kind is a CLONE_NEW* constant, or 0 for whatever file is.
func Join(fd int, kind int) error {
	if kind == unix.CLONE_NEWNS {
		// A thread that shares its root and working directory with others may not join.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
	}
	if err := unix.Setns(fd, kind); err != nil {
		return fmt.Errorf("join namespace: %w", err)
	}
	return nil
}
