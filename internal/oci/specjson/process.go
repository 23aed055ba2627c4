package specjson

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func process(r *reader, p *specs.Process) {
	r.object(func(name string) {
		switch name {
		case "terminal":
			boolean(r, &p.Terminal)
		case "consoleSize":
			ptr(r, &p.ConsoleSize, box)
		case "user":
			user(r, &p.User)
		case "args":
			list(r, &p.Args, str[string])
		case "commandLine":
			str(r, &p.CommandLine)
		case "env":
			list(r, &p.Env, str[string])
		case "cwd":
			str(r, &p.Cwd)
		case "capabilities":
			ptr(r, &p.Capabilities, capabilities)
		case "rlimits":
			list(r, &p.Rlimits, rlimit)
		case "noNewPrivileges":
			boolean(r, &p.NoNewPrivileges)
		case "apparmorProfile":
			str(r, &p.ApparmorProfile)
		case "oomScoreAdj":
			ptr(r, &p.OOMScoreAdj, num[int])
		case "scheduler":
			ptr(r, &p.Scheduler, scheduler)
		case "selinuxLabel":
			str(r, &p.SelinuxLabel)
		case "ioPriority":
			ptr(r, &p.IOPriority, ioPriority)
		case "execCPUAffinity":
			ptr(r, &p.ExecCPUAffinity, cpuAffinity)
		default:
			r.skip()
		}
	})
}

func box(r *reader, b *specs.Box) {
	r.object(func(name string) {
		switch name {
		case "height":
			num(r, &b.Height)
		case "width":
			num(r, &b.Width)
		default:
			r.skip()
		}
	})
}

func user(r *reader, u *specs.User) {
	r.object(func(name string) {
		switch name {
		case "uid":
			num(r, &u.UID)
		case "gid":
			num(r, &u.GID)
		case "umask":
			ptr(r, &u.Umask, num[uint32])
		case "additionalGids":
			list(r, &u.AdditionalGids, num[uint32])
		case "username":
			str(r, &u.Username)
		default:
			r.skip()
		}
	})
}

func capabilities(r *reader, c *specs.LinuxCapabilities) {
	r.object(func(name string) {
		switch name {
		case "bounding":
			list(r, &c.Bounding, str[string])
		case "effective":
			list(r, &c.Effective, str[string])
		case "inheritable":
			list(r, &c.Inheritable, str[string])
		case "permitted":
			list(r, &c.Permitted, str[string])
		case "ambient":
			list(r, &c.Ambient, str[string])
		default:
			r.skip()
		}
	})
}

func rlimit(r *reader, l *specs.POSIXRlimit) {
	r.object(func(name string) {
		switch name {
		case "type":
			str(r, &l.Type)
		case "hard":
			num(r, &l.Hard)
		case "soft":
			num(r, &l.Soft)
		default:
			r.skip()
		}
	})
}

func scheduler(r *reader, s *specs.Scheduler) {
	r.object(func(name string) {
		switch name {
		case "policy":
			str(r, &s.Policy)
		case "nice":
			num(r, &s.Nice)
		case "priority":
			num(r, &s.Priority)
		case "flags":
			list(r, &s.Flags, str[specs.LinuxSchedulerFlag])
		case "runtime":
			num(r, &s.Runtime)
		case "deadline":
			num(r, &s.Deadline)
		case "period":
			num(r, &s.Period)
		default:
			r.skip()
		}
	})
}

func ioPriority(r *reader, p *specs.LinuxIOPriority) {
	r.object(func(name string) {
		switch name {
		case "class":
			str(r, &p.Class)
		case "priority":
			num(r, &p.Priority)
		default:
			r.skip()
		}
	})
}

func cpuAffinity(r *reader, a *specs.CPUAffinity) {
	r.object(func(name string) {
		switch name {
		case "initial":
			str(r, &a.Initial)
		case "final":
			str(r, &a.Final)
		default:
			r.skip()
		}
	})
}
