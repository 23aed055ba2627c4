package bare

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bounds gives the first byte of the interpreter's code and the one after its last.
func bounds() (from, to unsafe.Pointer)

// code is the interpreter's machine code.
func code() []byte {
	from, to := bounds()
	return unsafe.Slice((*byte)(from), uintptr(to)-uintptr(from))
}

// loadAddress is where the interpreter is linked to; any free address would do.
const loadAddress = 0x400000

// Of the ELF format (elf.h), what a static executable needs. debug/elf has the
// names, and with them what reads such files, 37 KB of the binary.
const (
	elfHeadSize    = 64
	elfSegmentSize = 56
	elfExecutable  = 2
	elfLoad        = 1
	elfStack       = 0x6474e551
)

var elfMachine = map[string]uint16{"amd64": 62, "arm64": 183}

// program is the interpreter as a static ELF executable: one segment, which is
// not writable, and a stack that is not executable.
func program() []byte {
	text := code()
	const heads = elfHeadSize + 2*elfSegmentSize
	size := uint64(heads + len(text))
	le := binary.LittleEndian
	out := make([]byte, 0, size)
	half := func(values ...uint16) {
		for _, v := range values {
			out = le.AppendUint16(out, v)
		}
	}
	long := func(values ...uint64) {
		for _, v := range values {
			out = le.AppendUint64(out, v)
		}
	}
	segment := func(kind, flags uint32, values ...uint64) {
		out = le.AppendUint32(le.AppendUint32(out, kind), flags)
		long(values...) // offset, virtual and physical address, sizes in the file and in memory, alignment
	}
	out = append(out, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // 64 bits, little-endian, version 1
	half(elfExecutable, elfMachine[runtime.GOARCH], 1, 0)                           // a version of four bytes
	long(loadAddress+heads, elfHeadSize, 0)                                         // entry, segments, no sections
	half(0, 0, elfHeadSize, elfSegmentSize, 2, 0, 0, 0)
	const read, write, execute = 4, 2, 1
	segment(elfLoad, read|execute, 0, loadAddress, loadAddress, size, size, 4096)
	segment(elfStack, read|write, 0, 0, 0, 0, 0, 16)
	return append(out, text...)
}

// Executable returns the interpreter as a sealed file to execute. One serves
// the whole process; the caller must not close it.
var Executable = sync.OnceValues(func() (*os.File, error) {
	h, err := memfd("gantry-init", program(), true)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), "gantry-init"), nil
})

// File puts the program into a file in memory, which the process gets as a
// descriptor, see Args. It is close-on-exec and the caller's.
func (p *Program) File() (int, error) {
	content, err := p.image()
	if err != nil {
		return -1, err
	}
	return memfd("gantry-init-calls", content, false)
}

// Args are the arguments of the Executable for a process that finds its
// program's file under the given descriptor number.
func Args(fd int) []string { return []string{"gantry-runtime init", strconv.Itoa(fd)} }

func memfd(name string, content []byte, executable bool) (_ int, err error) {
	flags := unix.MFD_CLOEXEC
	if executable {
		flags |= unix.MFD_ALLOW_SEALING | unix.MFD_EXEC
	}
	h, err := unix.MemfdCreate(name, flags)
	if executable && err == unix.EINVAL { // MFD_EXEC is unknown before Linux 6.3, where it is the only behaviour
		h, err = unix.MemfdCreate(name, flags&^unix.MFD_EXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("create file in memory: %w", err)
	}
	for rest := content; len(rest) > 0 && err == nil; {
		var n int
		n, err = unix.Write(h, rest)
		rest = rest[max(n, 0):]
	}
	if err == nil && executable {
		err = seal(h)
	}
	if err != nil {
		_ = unix.Close(h) // memory only
		return -1, fmt.Errorf("fill file in memory: %w", err)
	}
	return h, nil
}

// seal makes the file executable for all and readable for root only, so that a
// process that executes it in a user namespace is not dumpable from its first
// moment on, and keeps everybody from writing to it.
func seal(h int) error {
	if err := unix.Fchmod(h, 0o711); err != nil {
		return err
	}
	_, err := unix.FcntlInt(uintptr(h), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return err
}
