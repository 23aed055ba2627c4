package bare

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Failure is a call of Run's that failed.
type Failure struct {
	Report []byte
	Errno  unix.Errno
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Report, f.Errno) }
func (f *Failure) Unwrap() error { return f.Errno }

// Run carries the program out in the calling process, on the calling thread, to
// which the goroutine is locked. It returns if a call failed, if a result was
// not the wanted one (Errno is 0), or at the end of the program. While the calls
// are made nothing is allocated and no thread started.
func (p *Program) Run() error {
	size, err := p.mapImage()
	if err != nil {
		return err
	}
	i, errno := p.run()
	unmap(base, uintptr(size))
	if i >= len(p.calls) {
		return nil
	}
	c := p.calls[i]
	report := p.data[c.reportP.value-base-headerSize:][:c.reportN]
	return &Failure{Report: report, Errno: errno}
}

// mapImage puts the program where its pointers point to and gives its size.
func (p *Program) mapImage() (int, error) {
	image, err := p.image()
	if err != nil {
		return 0, err
	}
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, base, uintptr(len(image)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
	if errno != 0 {
		return 0, fmt.Errorf("map program: %w", errno)
	}
	if at != base { // a kernel that does not know MAP_FIXED_NOREPLACE (before 4.17)
		return 0, fmt.Errorf("map program: it came to %#x", at)
	}
	mapped := *(*unsafe.Pointer)(unsafe.Pointer(&at)) // memory that is not Go's
	copy(unsafe.Slice((*byte)(mapped), len(image)), image)
	return len(image), nil
}

// run returns the index of the call at which it stopped.
func (p *Program) run() (int, unix.Errno) {
	var slots [MaxSlots + 2]uint64
	for i := 0; i < len(p.calls); i++ {
		c := p.calls[i]
		var a [6]uintptr
		for n, arg := range &c.args {
			switch arg.kind {
			case kindSlot:
				a[n] = uintptr(slots[arg.value])
			case kindNegative:
				a[n] = -uintptr(slots[arg.value])
			case kindSlotAddr:
				a[n] = uintptr(unsafe.Pointer(&slots[arg.value]))
			default:
				a[n] = uintptr(arg.value)
			}
		}
		result, _, errno := unix.RawSyscall6(uintptr(c.nr), a[0], a[1], a[2], a[3], a[4], a[5])
		switch {
		case errno != 0 && (c.errno == anyWord || c.errno == uint64(errno)):
			i += int(c.skip)
		case errno != 0:
			return i, errno
		case c.want != anyWord && c.want != uint64(result):
			return i, 0
		default:
			slots[c.save] = uint64(result)
			if result == 0 {
				i += int(c.zero)
			}
		}
	}
	return len(p.calls), 0
}
