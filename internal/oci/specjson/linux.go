package specjson

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func linux(r *reader, l *specs.Linux) {
	r.object(func(name string) {
		switch name {
		case "uidMappings":
			list(r, &l.UIDMappings, idMapping)
		case "gidMappings":
			list(r, &l.GIDMappings, idMapping)
		case "sysctl":
			dict(r, &l.Sysctl, str[string])
		case "resources":
			ptr(r, &l.Resources, resources)
		case "cgroupsPath":
			str(r, &l.CgroupsPath)
		case "namespaces":
			list(r, &l.Namespaces, namespace)
		case "devices":
			list(r, &l.Devices, device)
		case "netDevices":
			dict(r, &l.NetDevices, netDevice)
		case "seccomp":
			ptr(r, &l.Seccomp, seccomp)
		case "rootfsPropagation":
			str(r, &l.RootfsPropagation)
		case "maskedPaths":
			list(r, &l.MaskedPaths, str[string])
		case "readonlyPaths":
			list(r, &l.ReadonlyPaths, str[string])
		case "mountLabel":
			str(r, &l.MountLabel)
		case "intelRdt":
			ptr(r, &l.IntelRdt, intelRdt)
		case "memoryPolicy":
			ptr(r, &l.MemoryPolicy, memoryPolicy)
		case "personality":
			ptr(r, &l.Personality, personality)
		case "timeOffsets":
			dict(r, &l.TimeOffsets, timeOffset)
		default:
			r.skip()
		}
	})
}

func namespace(r *reader, n *specs.LinuxNamespace) {
	r.object(func(name string) {
		switch name {
		case "type":
			str(r, &n.Type)
		case "path":
			str(r, &n.Path)
		default:
			r.skip()
		}
	})
}

func device(r *reader, d *specs.LinuxDevice) {
	r.object(func(name string) {
		switch name {
		case "path":
			str(r, &d.Path)
		case "type":
			str(r, &d.Type)
		case "major":
			num(r, &d.Major)
		case "minor":
			num(r, &d.Minor)
		case "fileMode":
			ptr(r, &d.FileMode, num[os.FileMode])
		case "uid":
			ptr(r, &d.UID, num[uint32])
		case "gid":
			ptr(r, &d.GID, num[uint32])
		default:
			r.skip()
		}
	})
}

func netDevice(r *reader, d *specs.LinuxNetDevice) {
	r.object(func(name string) {
		if name == "name" {
			str(r, &d.Name)
		} else {
			r.skip()
		}
	})
}

func seccomp(r *reader, s *specs.LinuxSeccomp) {
	r.object(func(name string) {
		switch name {
		case "defaultAction":
			str(r, &s.DefaultAction)
		case "defaultErrnoRet":
			ptr(r, &s.DefaultErrnoRet, num[uint])
		case "architectures":
			list(r, &s.Architectures, str[specs.Arch])
		case "flags":
			list(r, &s.Flags, str[specs.LinuxSeccompFlag])
		case "listenerPath":
			str(r, &s.ListenerPath)
		case "listenerMetadata":
			str(r, &s.ListenerMetadata)
		case "syscalls":
			list(r, &s.Syscalls, syscall)
		default:
			r.skip()
		}
	})
}

func syscall(r *reader, s *specs.LinuxSyscall) {
	r.object(func(name string) {
		switch name {
		case "names":
			list(r, &s.Names, str[string])
		case "action":
			str(r, &s.Action)
		case "errnoRet":
			ptr(r, &s.ErrnoRet, num[uint])
		case "args":
			list(r, &s.Args, seccompArg)
		default:
			r.skip()
		}
	})
}

func seccompArg(r *reader, a *specs.LinuxSeccompArg) {
	r.object(func(name string) {
		switch name {
		case "index":
			num(r, &a.Index)
		case "value":
			num(r, &a.Value)
		case "valueTwo":
			num(r, &a.ValueTwo)
		case "op":
			str(r, &a.Op)
		default:
			r.skip()
		}
	})
}

func intelRdt(r *reader, v *specs.LinuxIntelRdt) {
	r.object(func(name string) {
		switch name {
		case "closID":
			str(r, &v.ClosID)
		case "schemata":
			list(r, &v.Schemata, str[string])
		case "l3CacheSchema":
			str(r, &v.L3CacheSchema)
		case "memBwSchema":
			str(r, &v.MemBwSchema)
		case "enableMonitoring":
			boolean(r, &v.EnableMonitoring)
		default:
			r.skip()
		}
	})
}

func memoryPolicy(r *reader, p *specs.LinuxMemoryPolicy) {
	r.object(func(name string) {
		switch name {
		case "mode":
			str(r, &p.Mode)
		case "nodes":
			str(r, &p.Nodes)
		case "flags":
			list(r, &p.Flags, str[specs.MemoryPolicyFlagType])
		default:
			r.skip()
		}
	})
}

func personality(r *reader, p *specs.LinuxPersonality) {
	r.object(func(name string) {
		switch name {
		case "domain":
			str(r, &p.Domain)
		case "flags":
			list(r, &p.Flags, str[specs.LinuxPersonalityFlag])
		default:
			r.skip()
		}
	})
}

func timeOffset(r *reader, o *specs.LinuxTimeOffset) {
	r.object(func(name string) {
		switch name {
		case "secs":
			num(r, &o.Secs)
		case "nanosecs":
			num(r, &o.Nanosecs)
		default:
			r.skip()
		}
	})
}
