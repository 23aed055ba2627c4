// Package helloworld makes the program of the built-in hello-world image: an
// ELF file of a few hundred bytes of header and code and a text, which it
// writes to its standard output.
//
// The file is assembled here instead of being compiled and embedded, so that
// nobody has to trust or rebuild a binary in the source tree. It uses write and
// exit only, in the kernel's stable system call interface.
package helloworld

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
)

// Text is what the program prints.
//
//go:embed hello.txt
var Text string

// loadAddress is where the file is mapped; any multiple of the largest page
// size (64 KiB) above mmap_min_addr does.
const loadAddress = 0x400000

// The ELF header (Elf64_Ehdr) and two program headers (Elf64_Phdr), bytes.
const (
	headerSize  = 64
	programSize = 56
	codeOffset  = headerSize + 2*programSize
)

// e_machine of the architectures, from elf.h.
const (
	machineAMD64 = 62
	machineARM64 = 183
)

// Program gives the program for an architecture by its Go name. The same call
// always gives the same bytes.
func Program(arch string) ([]byte, error) {
	var machine uint16
	var code []byte
	switch arch {
	case "amd64":
		machine, code = machineAMD64, codeAMD64(len(Text))
	case "arm64":
		machine, code = machineARM64, codeARM64(len(Text))
	default:
		return nil, fmt.Errorf("hello-world has no program for %s", arch)
	}
	return assemble(machine, code, Text), nil
}

// assemble puts headers, code and text into one file, which is mapped as it is.
func assemble(machine uint16, code []byte, text string) []byte {
	size := uint64(codeOffset + len(code) + len(text))
	var out bytes.Buffer
	put := func(fields ...any) {
		for _, f := range fields {
			_ = binary.Write(&out, binary.LittleEndian, f) // a buffer takes any integer
		}
	}
	out.WriteString("\x7fELF\x02\x01\x01") // 64 bits, little endian, version 1
	out.Write(make([]byte, 9))
	put(uint16(2), machine, uint32(1)) // ET_EXEC
	put(uint64(loadAddress+codeOffset), uint64(headerSize), uint64(0), uint32(0))
	put(uint16(headerSize), uint16(programSize), uint16(2), uint16(0), uint16(0), uint16(0))
	const load, gnuStack = 1, 0x6474e551
	const readExecute, readWrite = 5, 6
	put(uint32(load), uint32(readExecute), uint64(0), uint64(loadAddress), uint64(loadAddress), size, size, uint64(0x10000))
	put(uint32(gnuStack), uint32(readWrite), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(16))
	out.Write(code)
	out.WriteString(text)
	return out.Bytes()
}

// codeAMD64 writes n bytes that follow it, however many calls that takes.
func codeAMD64(n int) []byte {
	code := []byte{
		0x48, 0x8d, 0x35, 0, 0, 0, 0, //  0       lea  text(%rip), %rsi
		0xba, 0, 0, 0, 0, //              7       mov  $n, %edx
		0xb8, 1, 0, 0, 0, //             12 more: mov  $SYS_write, %eax
		0xbf, 1, 0, 0, 0, //             17       mov  $1, %edi
		0x0f, 0x05, //                   22       syscall
		0x48, 0x85, 0xc0, //             24       test %rax, %rax
		0x7e, 0x0c, //                   27       jle  fail
		0x48, 0x01, 0xc6, //             29       add  %rax, %rsi
		0x48, 0x29, 0xc2, //             32       sub  %rax, %rdx
		0x75, 0xe7, //                   35       jnz  more
		0x31, 0xff, //                   37       xor  %edi, %edi
		0xeb, 0x05, //                   39       jmp  exit
		0xbf, 1, 0, 0, 0, //             41 fail: mov  $1, %edi
		0xb8, 60, 0, 0, 0, //            46 exit: mov  $SYS_exit, %eax
		0x0f, 0x05, //                   51       syscall
	}
	binary.LittleEndian.PutUint32(code[3:], uint32(len(code)-7)) // from the next instruction
	binary.LittleEndian.PutUint32(code[8:], uint32(n))
	return code
}

// codeARM64 is the same for AArch64.
func codeARM64(n int) []byte {
	words := []uint32{
		0x10000001,                    //  0       adr  x1, text
		0xd2800002 | uint32(n)<<5,     //  1       mov  x2, #n (16 bits)
		0xd2800808,                    //  2 more: mov  x8, #SYS_write
		0xd2800020,                    //  3       mov  x0, #1
		0xd4000001,                    //  4       svc  #0
		0xf100001f,                    //  5       cmp  x0, #0
		0x5400000d | (12-6)<<5,        //  6       b.le fail
		0x8b000021,                    //  7       add  x1, x1, x0
		0xeb000042,                    //  8       subs x2, x2, x0
		0x54000001 | (1<<19-(9-2))<<5, //  9       b.ne more
		0xd2800000,                    // 10       mov  x0, #0
		0x14000000 | (13 - 11),        // 11       b    exit
		0xd2800020,                    // 12 fail: mov  x0, #1
		0xd2800ba8,                    // 13 exit: mov  x8, #SYS_exit
		0xd4000001,                    // 14       svc  #0
	}
	distance := uint32(4 * len(words)) // of the text from the first instruction
	words[0] |= distance>>2<<5 | distance&3<<29
	var out []byte
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}
