package ns

import (
	"errors"
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

// cloneCode is the system call for a child that shares its parent's memory, has a
// stack of its own, and begins at the address code.
func cloneCode(args *cloneArgs, size, code uintptr) (pid, errno uintptr)

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

	// Code, if it is not 0, is machine code that the child runs beside its parent,
	// in the same memory and with a copy of its descriptors, instead of executing
	// Program with Files. All signals are blocked and none is caught.
	Code             uintptr
	Stack, StackSize uintptr

	OwnMemory bool
	Joins     []Membership // with OwnMemory, in this order
	BeRoot    bool         // become user and group 0 afterwards, for a user namespace
	// Again lets the child fork once more after it has joined, and only then with
	// Clone, and end: a PID namespace takes effect for children, and new namespaces
	// belong to the user namespace that their maker is in. Who is no root outside may
	// join the others only from inside of the user namespace that owns them.
	Again bool

	// Born, if set, is called while the new child, which must have OwnMemory, waits
	// before it does anything: to write the id maps of a new user namespace, without
	// which it would lose its capabilities when it executes the program. If it fails,
	// the child ends.
	Born func(pid int) error
}

// Membership names namespaces to join, as setns(2) takes them.
type Membership struct {
	FD    int // of a namespace, or a pidfd
	Kinds int // CLONE_NEW*
}

// cloneArgs is struct clone_args of linux/sched.h in its second version.
type cloneArgs struct {
	flags, pidfd uint64
	_, _         uint64 // where to store thread ids
	exitSignal   uint64
	stack        uint64
	stackSize    uint64
	_            uint64 // thread-local storage
	_, _         uint64 // thread ids to take, their number
	cgroup       uint64
}

// ForkJoin starts the child from a thread on which prepare ran first, as Fork
// does, and has told what the child is.
func ForkJoin(prepare func() (Joiner, error)) (Child, error) {
	return (*Thread)(nil).ForkJoin(prepare)
}

// ForkJoin is the function of that name, on this thread.
func (t *Thread) ForkJoin(prepare func() (Joiner, error)) (Child, error) {
	c := Child{PidFD: -1}
	err := t.Do(func() error {
		j, err := prepare()
		if err != nil {
			return err
		}
		fork := j.fork
		if j.Code != 0 {
			fork = j.forkCode
		}
		if c, err = fork(); err != nil {
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
	args := j.cloneArgs(pidfd)
	again := &cloneArgs{flags: unix.CLONE_PARENT | uint64(j.Clone)} // the new one is the caller's child too
	if !j.Again {
		args.flags |= uint64(j.Clone)
	}
	if !j.OwnMemory {
		args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	gate := [2]int{-1, -1}
	if j.Born != nil {
		if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
			fd.Close(report[1])
			return none, err
		}
		defer fd.Close(gate[0])
	}
	files := append([]uintptr(nil), j.Files...)
	syscall.ForkLock.Lock()
	pid, errno := forkExec(args, again, j, files, argv, env, uintptr(report[1]), gate)
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	fd.Close(report[1])
	if errno != 0 {
		fd.Close(gate[1])
		return none, errno
	}
	child := Child{Pid: int(pid), PidFD: int(*pidfd)}
	if j.Born != nil {
		if err = j.Born(child.Pid); err == nil {
			_, err = unix.Write(gate[1], []byte{0})
		}
		fd.Close(gate[1])
		if err != nil {
			// The end of the pipes could be long in coming: children of other threads may have copies.
			_ = unix.PidfdSendSignal(child.PidFD, unix.SIGKILL, nil, 0) // it is ours and not reaped
			reap(child)
			return none, err
		}
	}
	reason, second := readReport(report[0])
	if reason != 0 {
		err = reason
	}
	if j.Again {
		reap(child)
		if child = none; second == 0 {
			if err == nil {
				err = errors.New("the child ended early")
			}
			return none, err
		}
		var oerr error
		if child = (Child{Pid: second, PidFD: -1}); err == nil { // it is ours and not reaped: its pid is nobody else's
			child.PidFD, oerr = unix.PidfdOpen(second, 0)
			err = oerr
		}
	}
	if err != nil {
		reap(child)
		return none, err
	}
	return child, nil
}

// cloneArgs is what all children have in common: a signal at their end, a pidfd,
// which the caller has pinned, and perhaps a cgroup to be born in.
func (j *Joiner) cloneArgs(pidfd *int32) *cloneArgs {
	args := &cloneArgs{flags: unix.CLONE_PIDFD, pidfd: uint64(uintptr(unsafe.Pointer(pidfd))), exitSignal: uint64(unix.SIGCHLD)}
	if j.CgroupFD >= 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(j.CgroupFD)
	}
	return args
}

// forkCode starts a child that runs Code, and does not wait for anything.
func (j *Joiner) forkCode() (Child, error) {
	pidfd := new(int32)
	var pinned runtime.Pinner
	pinned.Pin(pidfd)
	defer pinned.Unpin()
	args := j.cloneArgs(pidfd)
	args.flags |= unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND | uint64(j.Clone)
	args.stack, args.stackSize = uint64(j.Stack), uint64(j.StackSize)
	syscall.ForkLock.Lock()
	runtimeBeforeFork()
	pid, errno := cloneCode(args, unsafe.Sizeof(*args), j.Code)
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	if errno != 0 && pid == ^uintptr(0) {
		return Child{PidFD: -1}, syscall.Errno(errno)
	}
	return Child{Pid: int(pid), PidFD: int(*pidfd)}, nil
}

// reap waits for a child that has exited, or is about to.
func reap(c Child) {
	fd.Close(c.PidFD)
	for {
		if _, err := unix.Wait4(c.Pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// bornAgain marks, in a report, the pid of a second child.
const bornAgain = 1 << 32

// readReport reads what the child reports until execve closes the pipe: why it
// failed, if it did, and the pid of its own child.
func readReport(pipe int) (reason syscall.Errno, second int) {
	var word uint64
	buf := (*[8]byte)(unsafe.Pointer(&word))
	for {
		n, err := unix.Read(pipe, buf[:])
		switch {
		case err == unix.EINTR:
		case err != nil || n != len(buf):
			return reason, second
		case word&bornAgain != 0:
			second = int(word &^ bornAgain)
		default:
			reason = syscall.Errno(word)
		}
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
func forkExec(args, again *cloneArgs, j *Joiner, files []uintptr, argv, env []*byte, report uintptr, gate [2]int) (pid uintptr, errno syscall.Errno) {
	empty := [1]byte{}
	count := uintptr(len(files))
	runtimeBeforeFork() // undone by the caller: from here on no function may check its stack
	pid, failed := clone3(args, unsafe.Sizeof(*args))
	if failed != 0 || pid != 0 {
		return pid, syscall.Errno(failed)
	}
	runtimeAfterForkInChild()
	program := uintptr(j.Program)
	if gate[0] >= 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(gate[1]), 0, 0) // or its end would not be seen
		var n uintptr
		if n, _, errno = syscall.RawSyscall(syscall.SYS_READ, uintptr(gate[0]), uintptr(unsafe.Pointer(&empty)), 1); n != 1 {
			if errno == 0 {
				errno = syscall.ECANCELED
			}
			goto fail
		}
	}
	if j.OwnMemory {
		// This copy of our memory must not be readable by those in the namespaces.
		if _, _, errno = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0); errno != 0 {
			goto fail
		}
	}
	for i := range j.Joins {
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(j.Joins[i].FD), uintptr(j.Joins[i].Kinds), 0); errno != 0 {
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
	if j.Again {
		if pid, failed = clone3(again, unsafe.Sizeof(*again)); failed != 0 {
			errno = syscall.Errno(failed)
			goto fail
		}
		if pid != 0 {
			word := uint64(pid) | bornAgain
			_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, report, uintptr(unsafe.Pointer(&word)), 8)
			for {
				_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
			}
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
