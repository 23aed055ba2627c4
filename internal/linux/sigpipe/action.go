//go:build amd64 || arm64

package sigpipe

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeEnd is the pipe's other end, for the handler.
//
//lint:ignore U1000 the handler, which is not Go, reads it
var writeEnd int32

// action is the kernel's struct sigaction of 64-bit machines (sigaction(2), where the
// C library's is described; asm-generic/signal.h).
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// The flags of actions: on the signal stacks that the Go runtime's threads have, and
// without interrupting system calls.
const (
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
	saRestorer = 0x04000000
)

// addresses are those of the handler and of what it returns to: 0 where the kernel
// has that.
func addresses() (handler, restorer uintptr)

func handler() action {
	h, r := addresses()
	a := action{handler: h, restorer: r, flags: saOnStack | saRestart, mask: ^uint64(0)}
	if r != 0 {
		a.flags |= saRestorer
	}
	return a
}

// set makes a the action of a signal, and gives what it was.
func (a action) set(s unix.Signal) (before action, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&before)),
		unsafe.Sizeof(a.mask), 0, 0)
	if errno != 0 {
		return before, errno
	}
	return before, nil
}
