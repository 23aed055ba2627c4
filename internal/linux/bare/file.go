package bare

import (
	"bytes"
	"debug/elf"
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

// program is the interpreter as a static ELF executable: one segment, which is
// not writable, and a stack that is not executable.
func program() ([]byte, error) {
	text := code()
	const heads = 64 + 2*56 // Elf64_Ehdr and two Elf64_Phdr
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	size := uint64(heads + len(text))
	var out bytes.Buffer
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: loadAddress + heads, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2,
	}
	segments := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size, Align: 4096},
		{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16},
	}
	for _, v := range []any{h, segments} {
		if err := binary.Write(&out, binary.LittleEndian, v); err != nil {
			return nil, err
		}
	}
	out.Write(text)
	return out.Bytes(), nil
}

// Executable returns the interpreter as a sealed file to execute. One serves
// the whole process; the caller must not close it.
var Executable = sync.OnceValues(func() (*os.File, error) {
	content, err := program()
	if err != nil {
		return nil, fmt.Errorf("make the interpreter's file: %w", err)
	}
	h, err := memfd("gantry-init", content, true)
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
