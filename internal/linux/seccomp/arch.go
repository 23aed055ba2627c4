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

// lookupArch finds an architecture by its name in the specification.
func lookupArch(name specs.Arch) (architecture, error) {
	a := architecture{name: name}
	switch name {
	case specs.ArchX86:
		a.audit, a.column = unix.AUDIT_ARCH_I386, columnX86
	case specs.ArchX86_64:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_X86_64, columnX8664, true
	case specs.ArchX32:
		a.audit, a.column, a.bit = unix.AUDIT_ARCH_X86_64, columnX32, x32Bit
	case specs.ArchARM:
		a.audit, a.column = unix.AUDIT_ARCH_ARM, columnArm
	case specs.ArchAARCH64:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_AARCH64, columnAarch64, true
	case specs.ArchMIPS:
		a.audit, a.column, a.big = unix.AUDIT_ARCH_MIPS, columnMips, true
	case specs.ArchMIPSEL:
		a.audit, a.column = unix.AUDIT_ARCH_MIPSEL, columnMips
	case specs.ArchMIPS64:
		a.audit, a.column, a.wide, a.big = unix.AUDIT_ARCH_MIPS64, columnMips64, true, true
	case specs.ArchMIPSEL64:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_MIPSEL64, columnMips64, true
	case specs.ArchMIPS64N32:
		a.audit, a.column, a.big = unix.AUDIT_ARCH_MIPS64N32, columnMips64n32, true
	case specs.ArchMIPSEL64N32:
		a.audit, a.column = unix.AUDIT_ARCH_MIPSEL64N32, columnMips64n32
	case specs.ArchPPC:
		a.audit, a.column, a.big = unix.AUDIT_ARCH_PPC, columnPpc, true
	case specs.ArchPPC64:
		a.audit, a.column, a.wide, a.big = unix.AUDIT_ARCH_PPC64, columnPpc64, true, true
	case specs.ArchPPC64LE:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_PPC64LE, columnPpc64, true
	case specs.ArchS390:
		a.audit, a.column, a.big = unix.AUDIT_ARCH_S390, columnS390, true
	case specs.ArchS390X:
		a.audit, a.column, a.wide, a.big = unix.AUDIT_ARCH_S390X, columnS390x, true, true
	case specs.ArchRISCV64:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_RISCV64, columnRiscv64, true
	case specs.ArchLOONGARCH64:
		a.audit, a.column, a.wide = unix.AUDIT_ARCH_LOONGARCH64, columnLoongarch64, true
	default:
		return a, errs.New(errs.InvalidArgument, "string %s is not a valid arch for seccomp", name)
	}
	return a, nil
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
