package seccomp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

var allArches = []specs.Arch{
	specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64,
	specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390,
	specs.ArchS390X, specs.ArchRISCV64, specs.ArchLOONGARCH64,
}

func errno(n uint) *uint { return &n }

// dockerDefault is Docker's default profile for a container with the given capabilities.
func dockerDefault(t testing.TB, caps ...string) *specs.LinuxSeccomp {
	t.Helper()
	cfg, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: caps},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// run decides one call on a little-endian machine.
func run(t testing.TB, p *Program, d data) uint32 {
	t.Helper()
	got, _, err := interpret(p.filter, d.bytes(binary.LittleEndian), binary.LittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// interesting gives argument values at which a profile's conditions flip.
func interesting(cfg *specs.LinuxSeccomp) []uint64 {
	v := []uint64{0, 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64, 1 << 63}
	for _, call := range cfg.Syscalls {
		for _, a := range call.Args {
			for _, x := range []uint64{a.Value, a.ValueTwo} {
				v = append(v, x-1, x, x+1, x^1<<32, x|0xffffffff<<32, x<<32, ^x)
			}
		}
	}
	slices.Sort(v)
	return slices.Compact(v)
}

// numbers gives the calls to try: all known ones and the borders of their ranges.
func numbers(a architecture) []uint32 {
	v := []uint32{0, x32Bit - 1, x32Bit, x32Bit + 600, 0x80000000, math.MaxUint32 - 1, math.MaxUint32, armPrivate - 1, armPrivate, armPrivate + 100}
	for row := range syscallNames {
		if n, ok := a.number(row); ok {
			v = append(v, n, n+1, n&^x32Bit)
		}
	}
	slices.Sort(v)
	return slices.Compact(v)
}

// compare runs the compiled profile for every call with a choice of arguments.
func compare(t *testing.T, cfg *specs.LinuxSeccomp, native specs.Arch, rng *rand.Rand, tries int) {
	t.Helper()
	p, err := compile(cfg, native)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var q Program
	if err := q.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	values := interesting(cfg)
	hasArgs := map[uint32]bool{}
	for _, name := range allArches {
		a, err := lookupArch(name)
		if err != nil {
			t.Fatal(err)
		}
		order := binary.ByteOrder(binary.LittleEndian)
		if a.big {
			order = binary.BigEndian
		}
		clear(hasArgs)
		for _, call := range cfg.Syscalls {
			for _, n := range call.Names {
				nr, ok := naiveNumber(a, n)
				hasArgs[nr] = hasArgs[nr] || ok && len(call.Args) > 0
				if m, ok := lookupMux(n); ok {
					nr, ok := naiveNumber(a, m.via)
					hasArgs[nr] = hasArgs[nr] || ok
				}
			}
		}
		for _, nr := range numbers(a) {
			n := 1
			if hasArgs[nr] {
				n = tries
			}
			for range n {
				d := data{nr: nr, arch: a.audit}
				for i := range d.args {
					d.args[i] = values[rng.IntN(len(values))]
				}
				if rng.IntN(4) == 0 {
					d.args[0] = uint64(rng.IntN(30))
				}
				if !a.wide && a.bit == 0 {
					for i := range d.args { // the kernel extends a 32-bit ABI's registers with zeroes
						d.args[i] &= math.MaxUint32
					}
				}
				got, _, err := interpret(q.filter, d.bytes(order), order)
				if err != nil {
					t.Fatalf("%s call %d: %v", name, nr, err)
				}
				if want := naive(cfg, native, d); got != want {
					j, _ := json.Marshal(cfg)
					t.Fatalf("%s (native %s) call %d args %x: filter returns %#x, profile says %#x\n%.2000s", name, native, nr, d.args, got, want, j)
				}
			}
		}
	}
}

func TestDockerDefault(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_PTRACE", "CAP_SYS_TIME", "CAP_BPF"}} {
		cfg := dockerDefault(t, caps...)
		compare(t, cfg, specs.ArchX86_64, rng, 60)
		p, err := Compile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %v", caps, p)
		if n := len(p.filter); n > 600 {
			t.Errorf("%d instructions: ranges of calls are no longer joined", n)
		}
		cfg.Architectures = []specs.Arch{specs.ArchARM, specs.ArchS390X, specs.ArchS390, specs.ArchPPC, specs.ArchMIPS}
		compare(t, cfg, specs.ArchAARCH64, rng, 20)
	}
}

func TestDepth(t *testing.T) {
	p, err := compile(dockerDefault(t), specs.ArchX86_64)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0
	for nr := range uint32(500) {
		d := data{nr: nr, arch: unix.AUDIT_ARCH_X86_64}
		_, steps, err := interpret(p.filter, d.bytes(binary.LittleEndian), binary.LittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, steps)
	}
	if worst > 24 {
		t.Errorf("a call takes %d instructions to decide: the search is no longer logarithmic", worst)
	}
}

var (
	randomActions = []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActTrap, specs.ActTrace, specs.ActLog, specs.ActNotify,
	}
	randomOps = []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
		specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
	}
	randomValues = []uint64{0, 1, 2, 7, 8, 0xff, 0xffffffff, 1 << 32, 1<<32 + 5, 5<<32 + 5, math.MaxUint64, math.MaxUint64 - 1, 0xf0f0_0000_0000_0f0f}
	randomNames  = []string{"socket", "connect", "ipc", "socketcall", "semop", "read", "write", "mmap", "clone", "openat", "set_tls", "accept", "recv", "exit", "no_such_call"}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func randomProfile(rng *rand.Rand) *specs.LinuxSeccomp {
	cfg := &specs.LinuxSeccomp{DefaultAction: pick(rng, randomActions[:len(randomActions)-1])}
	if rng.IntN(2) == 0 {
		cfg.DefaultErrnoRet = errno(uint(rng.IntN(200)))
	}
	for range rng.IntN(4) {
		cfg.Architectures = append(cfg.Architectures, pick(rng, allArches))
	}
	for range rng.IntN(12) {
		call := specs.LinuxSyscall{Action: pick(rng, randomActions)}
		if rng.IntN(3) == 0 {
			call.ErrnoRet = errno(uint(rng.IntN(200)))
		}
		for range 1 + rng.IntN(3) {
			name := pick(rng, randomNames)
			if rng.IntN(3) == 0 {
				name = pick(rng, syscallNames[:])
			}
			if name == "write" && call.Action == specs.ActNotify {
				continue
			}
			call.Names = append(call.Names, name)
		}
		for range rng.IntN(4) {
			call.Args = append(call.Args, specs.LinuxSeccompArg{
				Index: uint(rng.IntN(maxArgs)), Op: pick(rng, randomOps),
				Value: pick(rng, randomValues), ValueTwo: pick(rng, randomValues),
			})
		}
		cfg.Syscalls = append(cfg.Syscalls, call)
	}
	return cfg
}

func TestRandomProfiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 150 {
		compare(t, randomProfile(rng), pick(rng, allArches), rng, 15)
	}
}

// TestFarJumps has so many conditions that jumps do not fit in eight bits.
func TestFarJumps(t *testing.T) {
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86, specs.ArchX32}}
	for i := range uint64(80) {
		cfg.Syscalls = append(cfg.Syscalls, specs.LinuxSyscall{
			Names: []string{"ioctl", "fcntl", "prctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{
				{Index: 0, Op: specs.OpEqualTo, Value: i * 3},
				{Index: 1, Op: specs.OpMaskedEqual, Value: 0xff0000ff << 8, ValueTwo: i},
			},
		})
	}
	p, err := compile(cfg, specs.ArchX86_64)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.filter) < 1000 {
		t.Errorf("%v: too short to test far jumps", p)
	}
	compare(t, cfg, specs.ArchX86_64, rand.New(rand.NewPCG(5, 6)), 300)
}

func TestSameArgumentTwiceIsAlternatives(t *testing.T) {
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
		Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: errno(97),
		Args: []specs.LinuxSeccompArg{
			{Index: 0, Op: specs.OpEqualTo, Value: unix.AF_ALG},
			{Index: 0, Op: specs.OpEqualTo, Value: unix.AF_VSOCK},
			{Index: 1, Op: specs.OpEqualTo, Value: 7},
		},
	}}}
	p, err := compile(cfg, specs.ArchX86_64)
	if err != nil {
		t.Fatal(err)
	}
	blocked := uint32(unix.SECCOMP_RET_ERRNO | 97)
	for _, c := range []struct {
		domain, kind uint64
		want         uint32
	}{
		{unix.AF_ALG, 0, blocked}, {unix.AF_VSOCK, 0, blocked}, {unix.AF_INET, 7, blocked},
		{unix.AF_INET, 0, unix.SECCOMP_RET_ALLOW},
	} {
		d := data{nr: 41, arch: unix.AUDIT_ARCH_X86_64, args: [maxArgs]uint64{c.domain, c.kind}}
		if got := run(t, p, d); got != c.want {
			t.Errorf("socket(%d, %d): %#x; want %#x", c.domain, c.kind, got, c.want)
		}
	}
}

// TestSocketcallIsNoWayRound: what is forbidden directly is forbidden through
// socketcall, and a conditional permission does not open it.
func TestSocketcallIsNoWayRound(t *testing.T) {
	const socketcall = 102
	deny := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{{
		Names: []string{"socket"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo, Value: unix.AF_ALG}},
	}}}
	permit := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo, Value: unix.AF_INET}}},
		{Names: []string{"connect"}, Action: specs.ActAllow},
	}}
	eperm := uint32(unix.SECCOMP_RET_ERRNO | unix.EPERM)
	for _, c := range []struct {
		cfg  *specs.LinuxSeccomp
		call uint64
		want uint32
	}{
		{deny, 1, eperm}, {deny, 3, unix.SECCOMP_RET_ALLOW},
		{permit, 1, eperm}, {permit, 3, unix.SECCOMP_RET_ALLOW}, {permit, 2, eperm},
	} {
		p, err := compile(c.cfg, specs.ArchX86_64)
		if err != nil {
			t.Fatal(err)
		}
		d := data{nr: socketcall, arch: unix.AUDIT_ARCH_I386, args: [maxArgs]uint64{c.call}}
		if got := run(t, p, d); got != c.want {
			t.Errorf("default %s, socketcall(%d): %#x; want %#x", c.cfg.DefaultAction, c.call, got, c.want)
		}
	}
}

func TestNoProfile(t *testing.T) {
	for _, cfg := range []*specs.LinuxSeccomp{nil, {}} {
		if p, err := Compile(cfg); p != nil || err != nil {
			t.Errorf("Compile(%v) = %v, %v; want no program", cfg, p, err)
		}
	}
	var none *Program
	if err := none.Load(); err != nil {
		t.Errorf("loading no program: %v", err)
	}
}

func TestInvalidProfiles(t *testing.T) {
	call := func(c specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{c}}
	}
	long := specs.LinuxSyscall{Names: []string{"ioctl", "fcntl"}, Action: specs.ActAllow}
	huge := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	for i := range uint64(1500) {
		long.Args = []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpMaskedEqual, Value: i | 1<<40, ValueTwo: i}}
		huge.Syscalls = append(huge.Syscalls, long)
	}
	for name, cfg := range map[string]*specs.LinuxSeccomp{
		"default action": {DefaultAction: "SCMP_ACT_MAYBE"},
		"no default":     {Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}},
		"notify default": {DefaultAction: specs.ActNotify},
		"flag":           {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_NONE"}},
		"arch":           {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}},
		"action":         call(specs.LinuxSyscall{Names: []string{"read"}, Action: "no"}),
		"empty name":     call(specs.LinuxSyscall{Names: []string{""}, Action: specs.ActAllow}),
		"notify write":   call(specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActNotify}),
		"index":          call(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}),
		"operator":       call(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "=="}}}),
		"too long":       huge,
	} {
		if p, err := Compile(cfg); !errs.Is(err, errs.InvalidArgument) || p != nil {
			t.Errorf("%s: Compile = %v, %v; want invalid argument", name, p, err)
		}
	}
}

func TestFlags(t *testing.T) {
	notify := []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}
	for _, c := range []struct {
		flags    []specs.LinuxSeccompFlag
		syscalls []specs.LinuxSyscall
		want     uint
	}{
		{nil, nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{[]specs.LinuxSeccompFlag{}, nil, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog}, nil, unix.SECCOMP_FILTER_FLAG_LOG},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}, nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, nil, 0},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, notify, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
	} {
		p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: c.flags, Syscalls: c.syscalls})
		if err != nil {
			t.Fatal(err)
		}
		if p.Flags() != c.want || p.Notifies() != (c.syscalls != nil) {
			t.Errorf("flags %v: %#x, notifies %v; want %#x", c.flags, p.Flags(), p.Notifies(), c.want)
		}
	}
}

func TestUnmarshalRejects(t *testing.T) {
	p, err := Compile(dockerDefault(t))
	if err != nil {
		t.Fatal(err)
	}
	good, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	wrongVersion := bytes.Clone(good)
	wrongVersion[0]++
	for name, b := range map[string][]byte{
		"empty": nil, "header only": good[:headerSize], "torn": good[:len(good)-1], "version": wrongVersion,
		"too long": append(bytes.Clone(good[:headerSize]), make([]byte, insnSize*(MaxInstructions+1))...),
	} {
		var q Program
		if err := q.UnmarshalBinary(b); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: %v; want invalid argument", name, err)
		}
	}
}

func TestTablesSorted(t *testing.T) {
	if !slices.IsSorted(syscallNames[:]) || len(syscallNames) != len(syscallNumbers) {
		t.Error("tables are not sorted or differ in length")
	}
	for _, c := range []struct {
		arch specs.Arch
		name string
		want uint32
	}{
		{specs.ArchX86_64, "clone3", 435}, {specs.ArchX86, "socketcall", 102}, {specs.ArchX32, "execve", x32Bit | 520},
		{specs.ArchAARCH64, "openat", 56}, {specs.ArchARM, "set_tls", 983045}, {specs.ArchMIPS64N32, "read", 6000},
		{specs.ArchX86_64, "rseq_slice_yield", 471},
	} {
		a, err := lookupArch(c.arch)
		if err != nil {
			t.Fatal(err)
		}
		row, ok := lookupSyscall(c.name)
		if nr, exists := a.number(row); !ok || !exists || nr != c.want {
			t.Errorf("%s on %s: %d; want %d", c.name, c.arch, nr, c.want)
		}
	}
}

// FuzzCompile: whatever the profile, it is refused or compiles to a program
// that decides as the profile says.
func FuzzCompile(f *testing.F) {
	add := func(cfg *specs.LinuxSeccomp) {
		b, err := json.Marshal(cfg)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint32(41), uint64(38), uint64(1))
	}
	add(dockerDefault(f))
	rng := rand.New(rand.NewPCG(7, 8))
	for range 10 {
		add(randomProfile(rng))
	}
	f.Fuzz(func(t *testing.T, profile []byte, nr uint32, x, y uint64) {
		var cfg specs.LinuxSeccomp
		if json.Unmarshal(profile, &cfg) != nil {
			return
		}
		p, err := compile(&cfg, specs.ArchX86_64)
		if err != nil || p == nil {
			return
		}
		if n := len(p.filter); n == 0 || n > MaxInstructions {
			t.Fatalf("%d instructions", n)
		}
		for _, name := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32} {
			a, _ := lookupArch(name)
			d := data{nr: nr, arch: a.audit, args: [maxArgs]uint64{x, y, x ^ y, x + y, x, y}}
			got := run(t, p, d)
			if want := naive(&cfg, specs.ArchX86_64, d); got != want {
				t.Fatalf("call %d args %x: filter returns %#x, profile says %#x", nr, d.args, got, want)
			}
		}
	})
}

func BenchmarkCompileDockerDefault(b *testing.B) {
	cfg := dockerDefault(b)
	for b.Loop() {
		if _, err := Compile(cfg); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNames compiles a profile with everything that the package claims to know.
func TestNames(t *testing.T) {
	flags, usable := Flags()
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for _, name := range flags {
		cfg.Flags = append(cfg.Flags, specs.LinuxSeccompFlag(name))
	}
	for _, name := range Architectures() {
		cfg.Architectures = append(cfg.Architectures, specs.Arch(name))
	}
	if _, err := Compile(cfg); err != nil || len(flags) != 4 || len(cfg.Architectures) != 18 {
		t.Errorf("%d flags, %d architectures: %v", len(flags), len(cfg.Architectures), err)
	}
	if !slices.Contains(usable, "SECCOMP_FILTER_FLAG_SPEC_ALLOW") { // Linux 4.17
		t.Errorf("the kernel is said to know %v only", usable)
	}
}
