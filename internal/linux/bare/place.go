package bare

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Placed is a program in this process's memory, for a child that shares it and so
// needs neither a file of the program nor the Executable: 0.6 ms of a start. There
// is room for one at a time. It must stay until the child has executed another
// program or ended.
type Placed struct {
	Code  uintptr // where the child begins
	Stack uintptr // the stack that it begins with: an address that only the kernel uses
	Size  uintptr // of the stack, in bytes

	image int
}

// stackSize has room for the slots.
const stackSize = 4096

// Place puts the program into memory.
func (p *Program) Place() (*Placed, error) {
	image, err := p.mapImage()
	if err != nil {
		return nil, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, base, uintptr(image), unix.PROT_READ); errno != 0 {
		unmap(base, uintptr(image))
		return nil, fmt.Errorf("protect program: %w", errno)
	}
	placed := &Placed{image: image, Size: stackSize - 64} // above it the zeros that say: no arguments
	var errno unix.Errno
	placed.Stack, _, errno = unix.Syscall6(unix.SYS_MMAP, 0, stackSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		placed.Stack = 0
		placed.Remove()
		return nil, fmt.Errorf("map stack: %w", errno)
	}
	from, _ := bounds()
	placed.Code = uintptr(from)
	return placed, nil
}

// Remove gives the memory back. It may be called on nil.
func (p *Placed) Remove() {
	if p == nil {
		return
	}
	unmap(base, uintptr(p.image))
	if p.Stack != 0 {
		unmap(p.Stack, stackSize)
	}
}

// unmap cannot fail for what mmap gave.
func unmap(at, size uintptr) { _, _, _ = unix.Syscall(unix.SYS_MUNMAP, at, size, 0) }
