package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// dataMask is SECCOMP_RET_DATA: the bits of a return value that carry the
// errno or the tracer's message.
const dataMask = 0xffff

// retENOSYS answers calls that are newer than the profile.
const retENOSYS = uint32(unix.SECCOMP_RET_ERRNO | unix.ENOSYS)

// action translates an action into the filter's return value. errnoRet
// defaults to EPERM, as runc has it, for ERRNO and TRACE and means nothing for
// the others.
func action(act specs.LinuxSeccompAction, errnoRet *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errnoRet != nil {
		data = uint32(*errnoRet) & dataMask
	}
	switch act {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, errs.New(errs.InvalidArgument, "string %s is not a valid action for seccomp", act)
}

// runs tells whether a call with this action is executed without anybody's
// consent.
func runs(act uint32) bool {
	return act == unix.SECCOMP_RET_ALLOW || act == unix.SECCOMP_RET_LOG
}

// permissive tells whether unknown calls should reach the kernel, or a tracer
// which is expected to answer ENOSYS itself, rather than get ENOSYS from us.
func permissive(act uint32) bool {
	return runs(act) || act&unix.SECCOMP_RET_ACTION == unix.SECCOMP_RET_TRACE
}

type knownFlag struct {
	name specs.LinuxSeccompFlag
	bit  programFlags
}

// knownFlags are the flags of profiles.
var knownFlags = [...]knownFlag{
	{specs.LinuxSeccompFlagLog, unix.SECCOMP_FILTER_FLAG_LOG},
	{specs.LinuxSeccompFlagSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	// Not in the specification, but in profiles that people have. Other threads do
	// not outlive the exec that follows.
	{"SECCOMP_FILTER_FLAG_TSYNC", 0},
	{specs.LinuxSeccompFlagWaitKillableRecv, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
}

// Flags names the flags that profiles may have, sorted, and those among them that
// the kernel knows.
func Flags() (known, usable []string) {
	for _, f := range knownFlags {
		known = append(known, string(f.name))
		bits := uint(f.bit)
		if f.bit == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV { // with a listener only
			bits |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		}
		if supported(bits) {
			usable = append(usable, string(f.name))
		}
	}
	return known, usable
}

// flags translates the profile's flags. No list at all (an empty one is a
// list) implies SPEC_ALLOW, as in runc: the speculation mitigation costs much
// and protects only processes with secrets from code in themselves.
func flags(list []specs.LinuxSeccompFlag) (programFlags, error) {
	if list == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | flagImplied, nil
	}
	var f programFlags
	for _, name := range list {
		i := slices.IndexFunc(knownFlags[:], func(k knownFlag) bool { return k.name == name })
		if i < 0 {
			return 0, errs.New(errs.InvalidArgument, "seccomp flag %s is not known", name)
		}
		f |= knownFlags[i].bit
	}
	return f, nil
}
