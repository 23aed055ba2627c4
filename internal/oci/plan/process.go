package plan

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// AnnotationExactLimits, set to "true", makes a container fail to start if a
// resource limit or OOM score needs a privilege that the runtime lacks. Without
// it the nearest possible value is set and a warning logged.
const AnnotationExactLimits = "run.gantry.exact-limits"

// rlimits maps the specification's names to RLIMIT_* of asm-generic/resource.h.
var rlimits = map[string]int{
	"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
	"RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
	"RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}

// BuildProcess translates the description of a program. annotations are those
// of its container.
func BuildProcess(p *specs.Process, annotations map[string]string) (Process, error) {
	if len(p.Args) == 0 {
		return Process{}, errs.New(errs.InvalidArgument, "args must not be empty")
	}
	if p.Cwd == "" {
		return Process{}, errs.New(errs.InvalidArgument, "Cwd property must not be empty")
	}
	if !path.IsAbs(p.Cwd) {
		return Process{}, errs.New(errs.InvalidArgument, "Cwd must be an absolute path")
	}
	for _, list := range [][]string{p.Args, p.Env, {p.Cwd}} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return Process{}, errs.New(errs.InvalidArgument, "process: %q contains a NUL byte", s)
			}
		}
	}
	out := Process{
		Args: p.Args, Env: dedupeEnv(p.Env), Cwd: p.Cwd, UID: p.User.UID, GID: p.User.GID,
		Groups: p.User.AdditionalGids, Umask: p.User.Umask, Terminal: p.Terminal, NoNewPrivs: p.NoNewPrivileges,
		OOMScoreAdj: p.OOMScoreAdj, AppArmor: p.ApparmorProfile, SELinux: p.SelinuxLabel,
		ExactLimits: annotations[AnnotationExactLimits] == "true",
	}
	// The all-ones id means "leave it" to the kernel: a user who was asked to be
	// that would stay root.
	for _, id := range append([]uint32{out.UID, out.GID}, out.Groups...) {
		if id == ^uint32(0) {
			return Process{}, errs.New(errs.InvalidArgument, "process: user or group id %d is not valid", id)
		}
	}
	if p.ConsoleSize != nil {
		out.Height, out.Width = clamp16(p.ConsoleSize.Height), clamp16(p.ConsoleSize.Width)
	}
	if p.Capabilities != nil {
		out.Caps = buildCaps(p.Capabilities)
	}
	if err := out.addRlimits(p.Rlimits); err != nil {
		return Process{}, err
	}
	if _, err := BuildAffinity(p.ExecCPUAffinity); err != nil { // for processes to come
		return Process{}, err
	}
	return out, out.addScheduling(p)
}

func clamp16(n uint) uint16 { return uint16(min(n, 0xffff)) }

// dedupeEnv keeps the last value of each variable, at its first place.
func dedupeEnv(env []string) []string {
	at := make(map[string]int, len(env))
	out := make([]string, 0, len(env))
	for _, s := range env {
		key, _, _ := strings.Cut(s, "=")
		if i, ok := at[key]; ok {
			out[i] = s
			continue
		}
		at[key] = len(out)
		out = append(out, s)
	}
	return out
}

// LostAmbient names the ambient capabilities that a process is asked to have and cannot,
// since they are not permitted and inheritable as well.
func LostAmbient(c *specs.LinuxCapabilities) []string {
	if c == nil || len(c.Ambient) == 0 {
		return nil
	}
	asked, _ := capability.Parse(c.Ambient)
	if lost := asked &^ buildCaps(c).Ambient; lost != 0 {
		return strings.Split(lost.String(), ",")
	}
	return nil
}

// buildCaps ignores names that this kernel generation does not have, as runc
// does: a profile made for a newer kernel still works. An ambient capability
// must also be permitted and inheritable; what is not is dropped.
func buildCaps(c *specs.LinuxCapabilities) *capability.Sets {
	parse := func(list []string) capability.Mask { m, _ := capability.Parse(list); return m }
	s := &capability.Sets{
		Bounding: parse(c.Bounding), Effective: parse(c.Effective), Permitted: parse(c.Permitted),
		Inheritable: parse(c.Inheritable), Ambient: parse(c.Ambient),
	}
	s.Ambient &= s.Permitted & s.Inheritable
	s.Effective &= s.Permitted
	return s
}

func (p *Process) addRlimits(list []specs.POSIXRlimit) error {
	seen := map[string]bool{}
	for _, l := range list {
		resource, ok := rlimits[l.Type]
		if !ok {
			return errs.New(errs.InvalidArgument, "wrong rlimit value: %s", l.Type)
		}
		if seen[l.Type] {
			return errs.New(errs.InvalidArgument, "rlimit %s is set twice", l.Type)
		}
		if l.Soft > l.Hard {
			return errs.New(errs.InvalidArgument, "rlimit %s: soft limit %d exceeds hard limit %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		p.Rlimits = append(p.Rlimits, process.Rlimit{Resource: resource, Soft: l.Soft, Hard: l.Hard})
	}
	return nil
}

func (p *Process) addScheduling(src *specs.Process) error {
	if io := src.IOPriority; io != nil {
		classes := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}
		class, ok := classes[io.Class]
		if !ok {
			return errs.New(errs.InvalidArgument, "invalid ioPriority class %q", io.Class)
		}
		if io.Priority < 0 || io.Priority > 7 {
			return errs.New(errs.InvalidArgument, "ioPriority: %d is not between 0 and 7", io.Priority)
		}
		p.IOPriority = &IOPriority{class, io.Priority}
	}
	s := src.Scheduler
	if s == nil {
		return nil
	}
	policies := map[specs.LinuxSchedulerPolicy]int32{ // linux/sched.h
		specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedISO: 4,
		specs.SchedIdle: 5, specs.SchedDeadline: 6,
	}
	flags := map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: 0x01, specs.SchedFlagReclaim: 0x02, specs.SchedFlagDLOverrun: 0x04,
		specs.SchedFlagKeepPolicy: 0x08, specs.SchedFlagKeepParams: 0x10,
		specs.SchedFlagUtilClampMin: 0x20, specs.SchedFlagUtilClampMax: 0x40,
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return errs.New(errs.InvalidArgument, "invalid scheduler policy: %q", s.Policy)
	}
	switch {
	case s.Nice < -20 || s.Nice > 19:
		return errs.New(errs.InvalidArgument, "scheduler: nice value %d is not between -20 and 19", s.Nice)
	case s.Priority != 0 && s.Policy != specs.SchedFIFO && s.Policy != specs.SchedRR:
		return errs.New(errs.InvalidArgument, "scheduler: a priority is for SCHED_FIFO and SCHED_RR, not %s", s.Policy)
	case s.Runtime|s.Deadline|s.Period != 0 && s.Policy != specs.SchedDeadline:
		return errs.New(errs.InvalidArgument, "scheduler: runtime, deadline and period are for SCHED_DEADLINE, not %s", s.Policy)
	}
	out := &Scheduler{Policy: policy, Nice: s.Nice, Priority: s.Priority, Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
	for _, f := range s.Flags {
		bit, ok := flags[f]
		if !ok {
			return errs.New(errs.InvalidArgument, "invalid scheduler flag: %q", f)
		}
		out.Flags |= bit
	}
	p.Scheduler = out
	return nil
}
