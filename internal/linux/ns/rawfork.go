package ns

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// The runtime's preparations for a fork, which it keeps available to programs
// that fork by themselves: signals are blocked and the stack must not grow
// until they are undone.
//
//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// clone3 is the system call, safe for a child that shares its parent's memory
// while the parent waits.
func clone3(args *cloneArgs, size uintptr) (pid, errno uintptr)

// Joiner describes a child that executes an open file, whatever root directory
// the forking thread has.
//
// With OwnMemory it gets a copy of its parent's memory until then, which takes
// longer, and so can be born into another time namespace and join namespaces by
// itself: user and time namespaces can be joined by a process with one thread
// only, which no Go program is, but the copy that fork makes of one.
type Joiner struct {
	Program  int      // descriptor of the file to execute
	Argv     []string // must not be empty
	Env      []string
	Files    []uintptr // become 0, 1, …
	CgroupFD int       // -1: the parent's group
	Clone    uintptr   // CLONE_NEW* for the child to be born with

	OwnMemory bool
	Join      int  // with OwnMemory: a pidfd whose process's namespaces are joined
	Kinds     int  // CLONE_NEW* to join; 0: none
	BeRoot    bool // become user and group 0 afterwards, for a user namespace
}

// cloneArgs is struct clone_args of linux/sched.h in its second version.
type cloneArgs struct {
	flags, pidfd uint64
	_, _         uint64 // where to store thread ids
	exitSignal   uint64
	_, _, _      uint64 // stack and its size, thread-local storage
	_, _         uint64 // thread ids to take, their number
	cgroup       uint64
}

// ForkJoin starts the child from a thread on which prepare ran first, as Fork
// does, and has told what the child is.
func ForkJoin(prepare func() (Joiner, error)) (Child, error) {
	c := Child{PidFD: -1}
	err := OnThread(func() error {
		j, err := prepare()
		if err != nil {
			return err
		}
		if c, err = j.fork(); err != nil {
			return fmt.Errorf("fork %s: %w", j.Argv[0], err)
		}
		return nil
	})
	return c, err
}

// fork makes everything ready that the child needs, since that may not
// allocate, and waits until it has executed its program or failed.
func (j *Joiner) fork() (Child, error) {
	none := Child{PidFD: -1}
	argv, err := syscall.SlicePtrFromStrings(j.Argv)
	if err != nil {
		return none, err
	}
	env, err := syscall.SlicePtrFromStrings(j.Env)
	if err != nil {
		return none, err
	}
	var report [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return none, err
	}
	defer fd.Close(report[0])
	// The kernel gets the address as a number, which nobody adjusts if the stack moves.
	pidfd := new(int32)
	var pinned runtime.Pinner
	pinned.Pin(pidfd)
	defer pinned.Unpin()
	args := &cloneArgs{flags: unix.CLONE_PIDFD | uint64(j.Clone), pidfd: uint64(uintptr(unsafe.Pointer(pidfd))), exitSignal: uint64(unix.SIGCHLD)}
	if j.CgroupFD >= 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(j.CgroupFD)
	}
	if !j.OwnMemory {
		args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	files := append([]uintptr(nil), j.Files...)
	syscall.ForkLock.Lock()
	pid, errno := forkExec(args, j, files, argv, env, uintptr(report[1]))
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	fd.Close(report[1])
	if errno != 0 {
		return none, errno
	}
	child := Child{Pid: int(pid), PidFD: int(*pidfd)}
	if reason := readErrno(report[0]); reason != 0 {
		fd.Close(child.PidFD)
		for { // it has exited
			if _, err := unix.Wait4(child.Pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
		return none, reason
	}
	return child, nil
}

// readErrno reads what the child reports; 0 when execve closed the pipe.
func readErrno(pipe int) syscall.Errno {
	var reason syscall.Errno
	buf := (*[unsafe.Sizeof(reason)]byte)(unsafe.Pointer(&reason))
	for {
		n, err := unix.Read(pipe, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != len(buf) {
			return 0
		}
		return reason
	}
}

// forkExec is one function because between fork and execve the child may call
// nothing that allocates, takes a lock or grows the stack: raw system calls only.
// The parent returns at once, since a child that shares its memory has used this
// stack frame.
//
//go:noinline
//go:norace
//go:nocheckptr
func forkExec(args *cloneArgs, j *Joiner, files []uintptr, argv, env []*byte, report uintptr) (pid uintptr, errno syscall.Errno) {
	empty := [1]byte{}
	count := uintptr(len(files))
	runtimeBeforeFork() // undone by the caller: from here on no function may check its stack
	pid, failed := clone3(args, unsafe.Sizeof(*args))
	if failed != 0 || pid != 0 {
		return pid, syscall.Errno(failed)
	}
	runtimeAfterForkInChild()
	program := uintptr(j.Program)
	if j.OwnMemory {
		// This copy of our memory must not be readable by those in the namespaces.
		if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0); errno != 0 {
			goto fail
		}
	}
	if j.Kinds != 0 {
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(j.Join), uintptr(j.Kinds), 0); errno != 0 {
			goto fail
		}
	}
	if j.BeRoot {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESGID, 0, 0, 0); errno != 0 {
			goto fail
		}
		if _, _, errno = syscall.RawSyscall(syscall.SYS_SETRESUID, 0, 0, 0); errno != 0 {
			goto fail
		}
	}
	// First out of the way of the final numbers, then there.
	if report, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, report, syscall.F_DUPFD_CLOEXEC, count); errno != 0 {
		goto fail
	}
	if program, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, program, syscall.F_DUPFD_CLOEXEC, count); errno != 0 {
		goto fail
	}
	for i := range files {
		if files[i], _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, files[i], syscall.F_DUPFD_CLOEXEC, count); errno != 0 {
			goto fail
		}
	}
	for i := range files {
		if _, _, errno = syscall.RawSyscall(syscall.SYS_DUP3, files[i], uintptr(i), 0); errno != 0 {
			goto fail
		}
	}
	_, _, errno = syscall.RawSyscall6(unix.SYS_EXECVEAT, program, uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
fail:
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, report, uintptr(unsafe.Pointer(&errno)), unsafe.Sizeof(errno))
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 253, 0, 0)
	}
}
