// Package netns makes network namespaces, opens existing ones and runs code
// inside them. A namespace is known by an open file only: nothing is mounted,
// so it goes when its last process and its last file are gone, also when the
// daemon is killed.
//
// What happens inside a namespace (links, addresses, firewall) does not belong
// here. Invariant: no function leaves a thread of the Go runtime in another
// namespace than it found it in, and none of them switches the process's
// leading thread, because /proc/self/net and /proc/<pid>/ns/net speak of that.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const threadNS = "/proc/thread-self/ns/net"

// Current opens the network namespace of the calling thread. The caller keeps
// the thread locked if that matters, and closes the file.
func Current() (*os.File, error) {
	f, err := os.Open(threadNS)
	if err != nil {
		return nil, fmt.Errorf("open the current network namespace: %w", err)
	}
	return f, nil
}

// OfPid opens the network namespace of a process. The error is
// fs.ErrNotExist if there is no such process.
func OfPid(pid int) (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	return f, nil
}

// New makes an empty namespace (loopback only, and down) and calls setup, if
// given, on a thread inside it. If setup fails the namespace is dropped. The
// caller closes the file.
func New(setup func(ns *os.File) error) (*os.File, error) {
	var ns *os.File
	err := onOtherThread(func(home *os.File) error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		f, err := Current()
		if err != nil {
			return err
		}
		if setup != nil {
			if err := setup(f); err != nil {
				return errors.Join(err, f.Close())
			}
		}
		ns = f
		return nil
	})
	if err != nil && ns != nil {
		err = errors.Join(err, ns.Close())
		ns = nil
	}
	return ns, err
}

// Do runs fn on a thread inside ns. It costs nothing but the look if the
// calling thread is in ns already. fn must not start goroutines that rely on
// the namespace.
func Do(ns *os.File, fn func() error) error {
	runtime.LockOSThread()
	same, err := isCurrent(ns)
	if err == nil && same {
		defer runtime.UnlockOSThread()
		return fn()
	}
	runtime.UnlockOSThread()
	if err != nil {
		return err
	}
	return onOtherThread(func(*os.File) error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("join network namespace: %w", err)
		}
		return fn()
	})
}

// Same tells whether two files are the same namespace.
func Same(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

func isCurrent(ns *os.File) (bool, error) {
	var here, there unix.Stat_t
	if err := unix.Stat(threadNS, &here); err != nil {
		return false, fmt.Errorf("look at the current network namespace: %w", err)
	}
	if err := unix.Fstat(int(ns.Fd()), &there); err != nil {
		return false, fmt.Errorf("look at the network namespace: %w", err)
	}
	return here.Ino == there.Ino && here.Dev == there.Dev, nil
}

// onOtherThread runs fn on a locked thread that is not the process's leader
// and brings the thread back to where it was. A thread that cannot be brought
// back is given up: the goroutine ends while it is locked.
func onOtherThread(fn func(home *os.File) error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// This goroutine occupies the leader, so the next one cannot get it.
		defer runtime.UnlockOSThread()
		return onNewThread(fn)
	}
	home, err := Current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = home.Close() }() // read-only: nothing to lose
	err = fn(home)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Our caller's goroutine cannot be ended from here, so its thread stays
		// locked to it: it is in a foreign namespace for ever, but alone.
		return errors.Join(err, fmt.Errorf("return from network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

func onNewThread(fn func(home *os.File) error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done) // also if fn ends the goroutine, as a failing test does
		done <- onOtherThread(fn)
	}()
	err, returned := <-done
	if !returned {
		return errors.New("the function for the network namespace did not return")
	}
	return err
}
