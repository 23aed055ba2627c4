package seccomp

import (
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// architecture is one ABI whose calls a filter can tell apart.
type architecture struct {
	name   specs.Arch
	audit  uint32 // AUDIT_ARCH_*, what seccomp_data.arch holds
	column int    // in syscallNumbers
	wide   bool   // compares arguments in 64 bits
	big    bool   // big-endian: the high word of an argument comes first
	// bit is set in seccomp_data.nr over the table's number (x32 only).
	bit uint32
}

// x32Bit is __X32_SYSCALL_BIT of arch/x86/include/uapi/asm/unistd.h: x32 shares
// x86-64's AUDIT_ARCH and marks its calls with it.
const x32Bit = 0x40000000

// armPrivate is __ARM_NR_BASE: ARM's private calls start there, far above the
// numbers that grow with the kernel.
const armPrivate = 0x0f0000

// knownArchs are the architectures of profiles.
var knownArchs = [...]architecture{
	{name: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, column: columnX86},
	{name: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, column: columnX8664, wide: true},
	{name: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, column: columnX32, bit: x32Bit},
	{name: specs.ArchARM, audit: unix.AUDIT_ARCH_ARM, column: columnArm},
	{name: specs.ArchAARCH64, audit: unix.AUDIT_ARCH_AARCH64, column: columnAarch64, wide: true},
	{name: specs.ArchMIPS, audit: unix.AUDIT_ARCH_MIPS, column: columnMips, big: true},
	{name: specs.ArchMIPSEL, audit: unix.AUDIT_ARCH_MIPSEL, column: columnMips},
	{name: specs.ArchMIPS64, audit: unix.AUDIT_ARCH_MIPS64, column: columnMips64, wide: true, big: true},
	{name: specs.ArchMIPSEL64, audit: unix.AUDIT_ARCH_MIPSEL64, column: columnMips64, wide: true},
	{name: specs.ArchMIPS64N32, audit: unix.AUDIT_ARCH_MIPS64N32, column: columnMips64n32, big: true},
	{name: specs.ArchMIPSEL64N32, audit: unix.AUDIT_ARCH_MIPSEL64N32, column: columnMips64n32},
	{name: specs.ArchPPC, audit: unix.AUDIT_ARCH_PPC, column: columnPpc, big: true},
	{name: specs.ArchPPC64, audit: unix.AUDIT_ARCH_PPC64, column: columnPpc64, wide: true, big: true},
	{name: specs.ArchPPC64LE, audit: unix.AUDIT_ARCH_PPC64LE, column: columnPpc64, wide: true},
	{name: specs.ArchS390, audit: unix.AUDIT_ARCH_S390, column: columnS390, big: true},
	{name: specs.ArchS390X, audit: unix.AUDIT_ARCH_S390X, column: columnS390x, wide: true, big: true},
	{name: specs.ArchRISCV64, audit: unix.AUDIT_ARCH_RISCV64, column: columnRiscv64, wide: true},
	{name: specs.ArchLOONGARCH64, audit: unix.AUDIT_ARCH_LOONGARCH64, column: columnLoongarch64, wide: true},
}

// lookupArch finds an architecture by its name in the specification.
func lookupArch(name specs.Arch) (architecture, error) {
	i := slices.IndexFunc(knownArchs[:], func(a architecture) bool { return a.name == name })
	if i < 0 {
		return architecture{}, errs.New(errs.InvalidArgument, "string %s is not a valid arch for seccomp", name)
	}
	return knownArchs[i], nil
}

// Architectures names the architectures that profiles may have, sorted.
func Architectures() (names []string) {
	for _, a := range knownArchs {
		names = append(names, string(a.name))
	}
	slices.Sort(names)
	return names
}

// nativeArch names the architecture that this binary runs on.
func nativeArch() (specs.Arch, error) {
	switch runtime.GOARCH {
	case "386":
		return specs.ArchX86, nil
	case "amd64":
		return specs.ArchX86_64, nil
	case "arm":
		return specs.ArchARM, nil
	case "arm64":
		return specs.ArchAARCH64, nil
	case "mips":
		return specs.ArchMIPS, nil
	case "mipsle":
		return specs.ArchMIPSEL, nil
	case "mips64":
		return specs.ArchMIPS64, nil
	case "mips64le":
		return specs.ArchMIPSEL64, nil
	case "ppc64":
		return specs.ArchPPC64, nil
	case "ppc64le":
		return specs.ArchPPC64LE, nil
	case "s390x":
		return specs.ArchS390X, nil
	case "riscv64":
		return specs.ArchRISCV64, nil
	case "loong64":
		return specs.ArchLOONGARCH64, nil
	}
	return "", errs.New(errs.Unsupported, "seccomp is not supported on %s", runtime.GOARCH)
}

// architectures gives the ABIs of a profile, the native one first: it is part
// of every filter whether the profile lists it or not.
func architectures(native specs.Arch, listed []specs.Arch) ([]architecture, error) {
	var all []architecture
	for _, name := range append([]specs.Arch{native}, listed...) {
		if slices.ContainsFunc(all, func(a architecture) bool { return a.name == name }) {
			continue
		}
		a, err := lookupArch(name)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// lookupSyscall gives the row of a call in the tables.
func lookupSyscall(name string) (row int, known bool) {
	return slices.BinarySearch(syscallNames[:], name)
}
