package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr   uint32
	arch uint32
	args [maxArgs]uint64
}

func (d data) bytes(order binary.ByteOrder) []byte {
	b := make([]byte, 64)
	order.PutUint32(b, d.nr)
	order.PutUint32(b[4:], d.arch)
	for i, a := range d.args {
		order.PutUint64(b[offsetArgs+8*i:], a)
	}
	return b
}

// interpret runs a filter as the kernel would and checks what its verifier
// checks. steps is how many instructions it took.
func interpret(prog []unix.SockFilter, in []byte, order binary.ByteOrder) (ret uint32, steps int, err error) {
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		steps++
		i := prog[pc]
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if i.K%4 != 0 || int(i.K)+4 > len(in) {
				return 0, steps, fmt.Errorf("instruction %d: load at %d", pc, i.K)
			}
			acc = order.Uint32(in[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += jump(acc == i.K, i)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += jump(acc >= i.K, i)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			pc += jump(acc > i.K, i)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += jump(acc&i.K != 0, i)
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps, nil
		default:
			return 0, steps, fmt.Errorf("instruction %d: code %#x", pc, i.Code)
		}
	}
	return 0, steps, errors.New("ran off the end")
}

func jump(yes bool, i unix.SockFilter) int {
	if yes {
		return int(i.Jt)
	}
	return int(i.Jf)
}

// naive decides one call straight from the specification, without compiling.
func naive(cfg *specs.LinuxSeccomp, native specs.Arch, d data) uint32 {
	def := mustAction(cfg.DefaultAction, cfg.DefaultErrnoRet)
	a, ok := naiveArch(cfg, native, d)
	if !ok {
		all := append([]specs.Arch{native}, cfg.Architectures...)
		if d.nr == 0xffffffff && d.arch == unix.AUDIT_ARCH_X86_64 && slices.Contains(all, specs.ArchX86_64) {
			return def
		}
		return unix.SECCOMP_RET_KILL_THREAD
	}
	if r, ok := naiveUnknown(cfg, a, d.nr, def); ok {
		return r
	}
	var first *uint32
	for _, call := range cfg.Syscalls {
		act := mustAction(call.Action, call.ErrnoRet)
		for _, name := range call.Names {
			if act == def {
				continue
			}
			if nr, ok := naiveNumber(a, name); ok && nr == d.nr {
				if naiveAlways(a, call.Args) {
					return act
				}
				if first == nil && naiveMatch(a, call.Args, d) {
					first = &act
				}
			}
			m, ok := lookupMux(name)
			if !ok || len(call.Args) > 0 && (act == unix.SECCOMP_RET_ALLOW || act == unix.SECCOMP_RET_LOG) {
				continue
			}
			nr, ok := naiveNumber(a, m.via)
			if ok && nr == d.nr && d.args[0]&m.mask == m.call && first == nil {
				first = &act
			}
		}
	}
	if first != nil {
		return *first
	}
	return def
}

func mustAction(act specs.LinuxSeccompAction, ret *uint) uint32 {
	v, err := action(act, ret)
	if err != nil {
		panic(err)
	}
	return v
}

func naiveArch(cfg *specs.LinuxSeccomp, native specs.Arch, d data) (architecture, bool) {
	for _, name := range append([]specs.Arch{native}, cfg.Architectures...) {
		a, err := lookupArch(name)
		if err != nil {
			panic(err)
		}
		if a.audit != d.arch {
			continue
		}
		if a.audit == unix.AUDIT_ARCH_X86_64 && (d.nr >= x32Bit) != (a.bit != 0) {
			continue
		}
		return a, true
	}
	return architecture{}, false
}

var rows = sync.OnceValue(func() map[string]int {
	m := map[string]int{}
	for row, name := range syscallNames {
		m[name] = row
	}
	return m
})

func naiveNumber(a architecture, name string) (uint32, bool) {
	row, ok := rows()[name]
	if !ok || syscallNumbers[row][a.column] < 0 {
		return 0, false
	}
	return uint32(syscallNumbers[row][a.column]) | a.bit, true
}

func naiveUnknown(cfg *specs.LinuxSeccomp, a architecture, nr, def uint32) (uint32, bool) {
	switch cfg.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace:
		return 0, false
	}
	newest, newestPrivate, any := uint32(0), uint32(0), false
	for _, call := range cfg.Syscalls {
		for _, name := range call.Names {
			n, ok := naiveNumber(a, name)
			if !ok {
				continue
			}
			any = true
			if a.name == specs.ArchARM && n >= armPrivate {
				newestPrivate = max(newestPrivate, n)
			} else {
				newest = max(newest, n)
			}
		}
	}
	s390 := a.name == specs.ArchS390 || a.name == specs.ArchS390X
	switch {
	case !any:
		return 0, false
	case s390 && nr == 0:
		return retENOSYS, true
	case a.name == specs.ArchARM && nr >= armPrivate:
		return retENOSYS, nr > newestPrivate
	default:
		return retENOSYS, nr > newest
	}
}

func naiveMatch(a architecture, args []specs.LinuxSeccompArg, d data) bool {
	count := map[uint]int{}
	twice := false
	all, one := true, false
	for _, arg := range args {
		count[arg.Index]++
		twice = twice || count[arg.Index] > 1
		v, x, y := d.args[arg.Index], arg.Value, arg.ValueTwo
		if !a.wide {
			v, x, y = v&0xffffffff, x&0xffffffff, y&0xffffffff
		}
		var holds bool
		switch arg.Op {
		case specs.OpEqualTo:
			holds = v == x
		case specs.OpNotEqual:
			holds = v != x
		case specs.OpLessThan:
			holds = v < x
		case specs.OpLessEqual:
			holds = v <= x
		case specs.OpGreaterThan:
			holds = v > x
		case specs.OpGreaterEqual:
			holds = v >= x
		case specs.OpMaskedEqual:
			holds = v&x == y&x
		}
		all, one = all && holds, one || holds
	}
	if twice {
		return one
	}
	return all
}

// naiveAlways tells whether arguments do not matter: there are no conditions,
// or only ones that look at no bit.
func naiveAlways(a architecture, args []specs.LinuxSeccompArg) bool {
	count := map[uint]int{}
	blind, twice := 0, false
	for _, arg := range args {
		count[arg.Index]++
		twice = twice || count[arg.Index] > 1
		mask := arg.Value
		if !a.wide {
			mask &= 0xffffffff
		}
		if arg.Op == specs.OpMaskedEqual && mask == 0 {
			blind++
		}
	}
	return blind == len(args) || twice && blind > 0
}
