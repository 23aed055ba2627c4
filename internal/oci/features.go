package oci

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// Features says what this runtime can do, whatever the machine can.
func Features() *features.Features {
	yes := true
	var namespaces []string
	for _, kind := range ns.Kinds {
		namespaces = append(namespaces, kind.Name)
	}
	slices.Sort(namespaces)
	modes, flags := plan.MemoryPolicyNames()
	return &features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
		Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: mount.OptionNames(),
		Linux: &features.Linux{
			Namespaces: namespaces, Capabilities: capability.Names(),
			Cgroup:   &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp:  seccompFeatures(),
			Apparmor: &features.Apparmor{Enabled: &yes}, Selinux: &features.Selinux{Enabled: &yes},
			IntelRdt:     &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy: &features.MemoryPolicy{Modes: modes, Flags: flags},
			NetDevices:   &features.NetDevices{Enabled: &yes},
			MountExtensions: &features.MountExtensions{
				IDMap: &features.IDMap{Enabled: &yes},
			},
		},
	}
}

func seccompFeatures() *features.Seccomp {
	yes := true
	known, usable := seccomp.Flags()
	return &features.Seccomp{
		Enabled: &yes, Archs: seccomp.Architectures(), KnownFlags: known, SupportedFlags: usable,
		Actions: []string{
			"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
			"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
		},
		Operators: []string{
			"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
		},
	}
}
