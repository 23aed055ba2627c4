package seccompprofile

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// projectCommands are the ioctls by which whoever owns a file, as root of a container
// does, takes it out of the project whose quota bounds it: FS_IOC_FSSETXATTR, and
// FS_IOC_SETFLAGS, which ends the inheritance, in its forms for 64 and 32 bits. See
// linux/fs.h.
var projectCommands = []uint32{0x401c5820, 0x40086602, 0x40046602}

// KeepProjects makes a profile refuse the calls that change the projects of files.
// nil, for no profile, stays so.
func KeepProjects(cfg *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	if cfg == nil {
		return nil
	}
	out, eperm := *cfg, uint(unix.EPERM)
	out.Syscalls = nil
	for _, call := range cfg.Syscalls {
		if !allows(call.Action) || !slices.Contains(call.Names, "ioctl") && !slices.Contains(call.Names, "file_setattr") {
			out.Syscalls = append(out.Syscalls, call)
			continue
		}
		rest := call
		rest.Names = slices.DeleteFunc(slices.Clone(call.Names), func(n string) bool { return n == "ioctl" || n == "file_setattr" })
		if len(rest.Names) > 0 {
			out.Syscalls = append(out.Syscalls, rest)
		}
		if len(call.Args) > 0 && slices.Contains(call.Names, "ioctl") {
			out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: call.Action, ErrnoRet: call.ErrnoRet, Args: call.Args})
		} else if slices.Contains(call.Names, "ioctl") {
			out.Syscalls = append(out.Syscalls, allBut(call, projectCommands)...)
		}
	}
	if allows(cfg.DefaultAction) {
		for _, command := range projectCommands {
			out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActErrno, ErrnoRet: &eperm, Args: []specs.LinuxSeccompArg{lower32(^uint32(0), command)}})
		}
		out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: []string{"file_setattr"}, Action: specs.ActErrno, ErrnoRet: &eperm})
	}
	return &out
}

func allows(a specs.LinuxSeccompAction) bool { return a == specs.ActAllow || a == specs.ActLog }

// lower32 compares what the kernel takes of an ioctl's command: 32 bits.
func lower32(mask, value uint32) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: 1, Op: specs.OpMaskedEqual, Value: uint64(mask), ValueTwo: uint64(value)}
}

// allBut gives rules like call, which has no conditions, for all commands of ioctl
// but some. One comparison cannot say "not these 32 bits", so the numbers without
// them are put together of ranges that share their upper bits.
func allBut(call specs.LinuxSyscall, commands []uint32) (rules []specs.LinuxSyscall) {
	var split func(bit int, prefix uint32, below []uint32)
	split = func(bit int, prefix uint32, below []uint32) {
		if len(below) == 0 {
			mask := ^uint32(0) << bit
			rules = append(rules, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: call.Action, ErrnoRet: call.ErrnoRet, Args: []specs.LinuxSeccompArg{lower32(mask, prefix)}})
			return
		}
		if bit == 0 {
			return
		}
		bit--
		for _, side := range []uint32{0, 1 << bit} {
			half := slices.DeleteFunc(slices.Clone(below), func(c uint32) bool { return c&(1<<bit) != side })
			split(bit, prefix|side, half)
		}
	}
	split(32, 0, commands)
	return rules
}
