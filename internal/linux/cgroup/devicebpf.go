package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cgroup v2 asks a BPF program at every use of a device. The kernel calls it
// with struct bpf_cgroup_dev_ctx {u32 access<<16|type, major, minor} and lets
// the access pass if it returns 1. See linux/bpf.h.
const (
	devBlock, devChar                    = 1, 2
	accessMknod, accessRead, accessWrite = 1, 2, 4
)

// Instruction codes: class, size or operation, source; see the kernel's
// instruction set documentation (BPF_ALU64 etc.).
const (
	opLoadWord  = 0x61 // dst = *(u32 *)(src + off)
	opMovReg    = 0xbf // dst = src
	opMovImm    = 0xb7 // dst = imm
	opAndImm    = 0x57 // dst &= imm
	opShrImm    = 0x77 // dst >>= imm
	opJumpEqual = 0x15 // if dst == imm
	opJumpNot   = 0x55 // if dst != imm
	opExit      = 0x95
)

// The registers of the program: r1 comes in as the context and is scratch later.
const (
	regResult, regScratch, regType, regAccess, regMajor, regMinor = 0, 1, 2, 3, 4, 5
)

type bpfProgram []byte

// bpfSize is the size of an instruction.
const bpfSize = 8

func (p *bpfProgram) emit(op byte, dst, src byte, off int16, imm int32) {
	b := make([]byte, bpfSize)
	b[0], b[1] = op, dst|src<<4
	binary.NativeEndian.PutUint16(b[2:], uint16(off))
	binary.NativeEndian.PutUint32(b[4:], uint32(imm))
	*p = append(*p, b...)
}

// compileDeviceFilter translates rules into a program. Of all rules about a device
// and a kind of access the last one holds, so the program begins with the last one,
// and regAccess is what of the access no rule has allowed yet.
func compileDeviceFilter(rules []DeviceRule) bpfProgram {
	var p bpfProgram
	p.emit(opLoadWord, regType, regScratch, 0, 0)
	p.emit(opMovReg, regAccess, regType, 0, 0)
	p.emit(opAndImm, regType, 0, 0, 0xffff)
	p.emit(opShrImm, regAccess, 0, 0, 16)
	p.emit(opLoadWord, regMajor, regScratch, 4, 0)
	p.emit(opLoadWord, regMinor, regScratch, 8, 0)
	for _, r := range slices.Backward(rules) {
		if r.everything() {
			p.verdict(r.Allow)
			return p
		}
		p.rule(r)
	}
	p.verdict(true) // what a new group has
	return p
}

// rule emits one block, which is left for the next one if it does not decide.
func (p *bpfProgram) rule(r DeviceRule) {
	var body bpfProgram
	var jumps []int // instructions of the body that jump to the next block
	leaveIf := func(op, reg byte, imm int32) {
		jumps = append(jumps, len(body)/bpfSize)
		body.emit(op, reg, 0, 0, imm)
	}
	switch r.Type {
	case 'b':
		leaveIf(opJumpNot, regType, devBlock)
	case 'c':
		leaveIf(opJumpNot, regType, devChar)
	}
	if r.Major >= 0 {
		leaveIf(opJumpNot, regMajor, int32(r.Major))
	}
	if r.Minor >= 0 {
		leaveIf(opJumpNot, regMinor, int32(r.Minor))
	}
	switch mask := accessMask(r.Access); {
	case mask == accessMknod|accessRead|accessWrite:
	case r.Allow:
		body.emit(opAndImm, regAccess, 0, 0, ^mask)
		leaveIf(opJumpNot, regAccess, 0)
	default:
		body.emit(opMovReg, regScratch, regAccess, 0, 0)
		body.emit(opAndImm, regScratch, 0, 0, mask)
		leaveIf(opJumpEqual, regScratch, 0)
	}
	body.verdict(r.Allow)
	for _, at := range jumps {
		binary.NativeEndian.PutUint16(body[at*bpfSize+2:], uint16(len(body)/bpfSize-at-1))
	}
	*p = append(*p, body...)
}

func (p *bpfProgram) verdict(allow bool) {
	var v int32
	if allow {
		v = 1
	}
	p.emit(opMovImm, regResult, 0, 0, v)
	p.emit(opExit, 0, 0, 0, 0)
}

func accessMask(access string) int32 {
	var mask int32
	for c, bit := range map[string]int32{"r": accessRead, "w": accessWrite, "m": accessMknod} {
		if strings.Contains(access, c) {
			mask |= bit
		}
	}
	return mask
}

// attachDeviceFilter loads the program and attaches it. Filters that are
// attached already are replaced: an access needs the consent of all.
func (g Group) attachDeviceFilter(rules []DeviceRule) error {
	prog := compileDeviceFilter(rules)
	fd, err := loadDeviceFilter(prog)
	if err != nil {
		return fmt.Errorf("load device filter: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // the attachment keeps the program
	dir, err := unix.Open(g.Unified, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("attach device filter: %w", err)
	}
	defer func() { _ = unix.Close(dir) }() // only a handle
	old, err := deviceFilters(dir)
	if err != nil {
		return fmt.Errorf("list device filters: %w", err)
	}
	if err := bpfAttach(unix.BPF_PROG_ATTACH, dir, fd); err != nil {
		return fmt.Errorf("attach device filter: %w", err)
	}
	for _, id := range old {
		if err := detachDeviceFilter(dir, id); err != nil {
			return fmt.Errorf("detach old device filter: %w", err)
		}
	}
	return nil
}

func loadDeviceFilter(prog bpfProgram) (int, error) {
	license := []byte("Apache-2.0\x00")
	name := [16]byte{}
	copy(name[:], "gantry_devices")
	// The head of union bpf_attr for BPF_PROG_LOAD.
	attr := struct {
		progType, count uint32
		insns, license  uint64
		logLevel, size  uint32
		log             uint64
		version, flags  uint32
		name            [16]byte
	}{
		progType: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(prog) / bpfSize),
		insns: uint64(uintptr(unsafe.Pointer(&prog[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))), name: name,
	}
	// The kernel gives up when a signal arrives while it checks the program, as the
	// Go scheduler's do.
	const tries = 20
	fd, errno := ^uintptr(0), unix.EAGAIN
	for n := 0; errno == unix.EAGAIN && n < tries; n++ {
		fd, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	}
	runtime.KeepAlive(prog)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// bpfAttach attaches or detaches (cmd) the program fd at the group dir.
func bpfAttach(cmd uintptr, dir, fd int) error {
	attr := struct{ target, prog, kind, flags uint32 }{uint32(dir), uint32(fd), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if cmd == unix.BPF_PROG_DETACH {
		attr.flags = 0
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	return nil
}

// deviceFilters lists the ids of the programs attached to the group itself.
func deviceFilters(dir int) ([]uint32, error) {
	ids := make([]uint32, 64) // the kernel allows that many for one group
	attr := struct {
		target, kind, query, attachFlags uint32
		ids                              uint64
		count                            uint32
		_                                uint32
	}{target: uint32(dir), kind: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(ids)
	if errno != 0 {
		return nil, errno
	}
	return ids[:min(int(attr.count), len(ids))], nil
}

func detachDeviceFilter(dir int, id uint32) error {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	defer func() { _ = unix.Close(int(fd)) }() // only a handle
	err := bpfAttach(unix.BPF_PROG_DETACH, dir, int(fd))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
