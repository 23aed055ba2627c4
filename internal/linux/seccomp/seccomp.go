// Package seccomp turns the runtime specification's seccomp profile into a
// classic BPF program and loads it. It owns the rules' semantics (those of
// libseccomp as runc drives it), the system call tables and the seccomp(2)
// call. Profiles themselves, Docker's default among them, do not belong here:
// this package is linked into the container runtime, which starts in
// milliseconds, so nothing is computed at package initialisation.
//
// Invariants: a compiled Program is at most MaxInstructions long and every
// path through it ends in a return; a call of an architecture that the profile
// does not name kills the thread.
package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

//go:generate go run ../../../tools/seccompsyscalls ../../../tools/seccompsyscalls/abi.tsv table_gen.go

// MaxInstructions is the longest program that the kernel takes: BPF_MAXINSNS
// in include/uapi/linux/bpf_common.h.
const MaxInstructions = 4096

// Program is a compiled filter. It does not change once made and may be shared.
// A nil *Program stands for "no filter".
type Program struct {
	filter []unix.SockFilter
	flags  programFlags
}

// programFlags are seccomp(2)'s filter flags with two bits of our own above them.
type programFlags uint32

const (
	kernelFlags programFlags = 0xffff
	// flagNotify: a rule uses SCMP_ACT_NOTIFY, so loading needs a listener.
	flagNotify programFlags = 1 << 16
	// flagImplied: the profile did not ask for the flags, so that a kernel
	// without them is no error.
	flagImplied programFlags = 1 << 17
)

// Instructions returns a copy of the program.
func (p *Program) Instructions() []unix.SockFilter { return slices.Clone(p.filter) }

// Flags returns the flags for seccomp(2), SECCOMP_FILTER_FLAG_NEW_LISTENER excepted.
func (p *Program) Flags() uint { return uint(p.flags & kernelFlags) }

// Notifies tells whether the profile hands calls to a supervisor
// (SCMP_ACT_NOTIFY): it must then be loaded with LoadNotify.
func (p *Program) Notifies() bool { return p != nil && p.flags&flagNotify != 0 }

const (
	marshalVersion = 1
	headerSize     = 8 // version, three zero bytes, flags
	insnSize       = 8 // sizeof(struct sock_filter)
)

// MarshalBinary encodes the program for the process that loads it. The format
// is private to one version of the binary.
func (p *Program) MarshalBinary() ([]byte, error) {
	b := make([]byte, headerSize, headerSize+insnSize*len(p.filter))
	b[0] = marshalVersion
	binary.LittleEndian.PutUint32(b[4:], uint32(p.flags))
	for _, in := range p.filter {
		b = binary.LittleEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.LittleEndian.AppendUint32(b, in.K)
	}
	return b, nil
}

// UnmarshalBinary decodes what MarshalBinary wrote; anything else is
// errs.InvalidArgument. Whether the instructions make sense is checked by the
// kernel when they are loaded.
func (p *Program) UnmarshalBinary(b []byte) error {
	if len(b) < headerSize+insnSize || b[0] != marshalVersion || b[1]|b[2]|b[3] != 0 || (len(b)-headerSize)%insnSize != 0 {
		return errs.New(errs.InvalidArgument, "decode seccomp program: %d bytes are no program of version %d", len(b), marshalVersion)
	}
	n := (len(b) - headerSize) / insnSize
	if n > MaxInstructions {
		return errs.New(errs.InvalidArgument, "decode seccomp program: %d instructions are more than %d", n, MaxInstructions)
	}
	p.flags = programFlags(binary.LittleEndian.Uint32(b[4:]))
	p.filter = make([]unix.SockFilter, n)
	for i := range p.filter {
		in := b[headerSize+insnSize*i:]
		p.filter[i] = unix.SockFilter{
			Code: binary.LittleEndian.Uint16(in),
			Jt:   in[2], Jf: in[3],
			K: binary.LittleEndian.Uint32(in[4:]),
		}
	}
	return nil
}

// String names the program by its size, for logs.
func (p *Program) String() string {
	if p == nil {
		return "no seccomp program"
	}
	return fmt.Sprintf("seccomp program of %d instructions, flags %#x", len(p.filter), p.Flags())
}
