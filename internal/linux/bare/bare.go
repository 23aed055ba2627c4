// Package bare runs lists of system calls: a Program is written by Go code that
// may think, allocate and fail, and carried out by a process that can do none of
// it. That process is a few hundred bytes of machine code (interp_*.s) in an ELF
// file of its own. It starts in a fraction of the time of a Go program, has one
// thread only, and holds nothing that those in the namespaces that it enters
// could want.
//
// A call can keep its result in a slot, use slots as arguments, and skip calls
// that follow it if its result is zero or it fails in an expected way. Any other
// failure is reported on a descriptor and ends the process. A skip may lead back:
// such a program ends when a call fails, its parent's socket having been closed.
package bare

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The image of a program is mapped at a fixed address, so that pointers in it
// need no adjustment. The process itself has nothing near there, and neither Go
// nor the kernel's search for free addresses, which goes downward from the
// stack, comes that low.
const (
	base = 0x10_0000_0000
	// MaxImage is the size of the largest program in bytes, its strings included.
	MaxImage = 16 << 20
	// MaxSlots is the number of slots that one program may have.
	MaxSlots = 62

	headerSize = 16
	callSize   = 120
)

// anyErrno and anyResult stand for all values in a call's words.
const anyWord = ^uint64(0)

// unused is the slot of results that nobody wants; errnoSlot is the interpreter's own.
const (
	unused    = MaxSlots
	errnoSlot = MaxSlots + 1
)

// Arg is an argument of a call.
type Arg struct {
	kind  uint64
	value uint64
}

// The kinds of arguments, two bits each in a call's word of kinds.
const (
	kindValue    = 0
	kindSlot     = 1 // the content of a slot
	kindSlotAddr = 2 // where a slot is, for the kernel to write to; eight bytes
	kindNegative = 3 // the negative of a slot's content
)

// Int is a number as it is.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](n T) Arg {
	return Arg{value: uint64(n)}
}

// Slot is a place for one result.
type Slot uint64

// Value is the content of the slot as an argument.
func (s Slot) Value() Arg { return Arg{kindSlot, uint64(s)} }

// Negative is the negative of the slot's content as an argument: a process's
// number becomes that of the group it leads.
func (s Slot) Negative() Arg { return Arg{kindNegative, uint64(s)} }

// Addr is the address of the slot's eight bytes as an argument.
func (s Slot) Addr() Arg { return Arg{kindSlotAddr, uint64(s)} }

// Program is a list of system calls with the data that they point to. The zero
// value is not usable; see New.
type Program struct {
	report int
	data   []byte
	calls  []*Call
	slots  Slot
	err    error // of the first string that cannot be one
}

// New makes an empty program whose process reports failures on descriptor
// report: what the failed call's Report says, followed by the error number in
// four bytes of the machine's order.
func New(report int) *Program { return &Program{report: report} }

// Call is one system call of a program.
type Call struct {
	nr      uint64
	args    [6]Arg
	save    Slot
	errno   uint64 // the tolerated one; 0: none
	skip    uint64 // calls that are left out then
	want    uint64
	zero    uint64 // calls that are left out if the result is 0
	reportP Arg
	reportN int
}

// Call appends a system call, which may be changed until the program is used. Its
// failure is reported with the given text.
func (p *Program) Call(report []byte, nr uintptr, args ...Arg) *Call {
	c := &Call{nr: uint64(nr), save: unused, want: anyWord, reportP: p.Bytes(report), reportN: len(report)}
	copy(c.args[:], args)
	p.calls = append(p.calls, c)
	return c
}

// Set replaces an argument, for what is known only when the rest of the program is.
func (c *Call) Set(arg int, to Arg) { c.args[arg] = to }

// Into keeps the result in a slot.
func (c *Call) Into(s Slot) *Call { c.save = s; return c }

// Tolerate makes an error number no failure; the following skip calls are left
// out if it occurs.
func (c *Call) Tolerate(errno unix.Errno, skip int) *Call {
	c.errno, c.skip = uint64(errno), uint64(skip)
	return c
}

// IfZero leaves the following skip calls out if the result is 0; a negative number
// leads back.
func (c *Call) IfZero(skip int) *Call { c.zero = uint64(skip); return c }

// Optional makes no error a failure.
func (c *Call) Optional() *Call { c.errno = anyWord; return c }

// Want ends the process without a report if the result is another one: there is
// nobody left to report to.
func (c *Call) Want(result int) *Call { c.want = uint64(result); return c }

// Begin puts the calls that add appends in front of all others, for what depends
// on the rest of the program.
func (p *Program) Begin(add func()) {
	rest := p.calls
	p.calls = nil
	add()
	p.calls = append(p.calls, rest...)
}

// Len is the number of calls so far.
func (p *Program) Len() int { return len(p.calls) }

// Slot gives a new slot. It panics if there are more than MaxSlots, which is an
// error of the program's author: the number does not depend on input if slots
// are used again.
func (p *Program) Slot() Slot {
	if p.slots >= MaxSlots {
		panic("bare: too many slots")
	}
	p.slots++
	return p.slots - 1
}

// Bytes puts b into the program's data, aligned to eight bytes, and gives its
// address. The process can read it but not write to it.
func (p *Program) Bytes(b []byte) Arg {
	for len(p.data)%8 != 0 {
		p.data = append(p.data, 0)
	}
	at := Arg{value: base + headerSize + uint64(len(p.data))}
	p.data = append(p.data, b...)
	return at
}

// Page puts what fill gives for its address into a page that holds nothing else,
// and gives the page's size: a program that wants to write there makes it writable
// first.
func (p *Program) Page(fill func(at uint64) []byte) (at Arg, size int) {
	size = os.Getpagesize()
	pad := func() { p.data = append(p.data, make([]byte, (size-(headerSize+len(p.data))%size)%size)...) }
	pad()
	at = p.Bytes(fill(base + headerSize + uint64(len(p.data))))
	pad()
	return at, size
}

// String is the address of s with a NUL byte behind it. A NUL byte in s makes the
// program unusable, see File.
func (p *Program) String(s string) Arg {
	if p.err == nil && strings.IndexByte(s, 0) >= 0 {
		p.err = fmt.Errorf("%q contains a NUL byte: %w", s, unix.EINVAL)
	}
	return p.Bytes(append([]byte(s), 0))
}

// Strings is the address of an array of pointers to strings that ends with a
// null pointer, as execve takes it.
func (p *Program) Strings(list []string) Arg {
	var array []byte
	for _, s := range list {
		array = binary.NativeEndian.AppendUint64(array, p.String(s).value)
	}
	return p.Bytes(binary.NativeEndian.AppendUint64(array, 0))
}

// Words is the address of an array of 64-bit numbers.
func (p *Program) Words(words ...uint64) Arg {
	var array []byte
	for _, w := range words {
		array = binary.NativeEndian.AppendUint64(array, w)
	}
	return p.Bytes(array)
}

// Value is the number that an argument stands for, an address for data: for
// structures that hold pointers to other data.
func (a Arg) Value() uint64 { return a.value }

// image is the program as the interpreter reads it.
func (p *Program) image() ([]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	size := headerSize + len(p.data) + 8 + len(p.calls)*callSize
	if size > MaxImage {
		return nil, fmt.Errorf("program of %d bytes exceeds the limit of %d", size, MaxImage)
	}
	out := make([]byte, 0, size)
	add := func(words ...uint64) {
		for _, w := range words {
			out = binary.NativeEndian.AppendUint64(out, w)
		}
	}
	padded := (len(p.data) + 7) &^ 7
	add(uint64(p.report), base+headerSize+uint64(padded))
	out = append(out, p.data...)
	out = append(out, make([]byte, padded-len(p.data))...)
	for _, c := range p.calls {
		var kinds uint64
		for i, a := range slices.Backward(c.args[:]) {
			kinds |= a.kind << (2 * i)
		}
		add(c.nr, kinds, uint64(c.save), c.errno, c.skip*callSize)
		for _, a := range c.args {
			add(a.value)
		}
		add(c.want, c.reportP.value, uint64(c.reportN), c.zero*callSize)
	}
	return out, nil
}
