package oci

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// TestFeatures asks for everything that is said to be there; that it works is shown
// by the tests in docs/reference/runtime.md.
func TestFeatures(t *testing.T) {
	f := Features()
	l := f.Linux
	for name, enabled := range map[string]*bool{
		"idmap": l.MountExtensions.IDMap.Enabled, "netDevices": l.NetDevices.Enabled, "intelRdt": l.IntelRdt.Enabled,
		"schemata": l.IntelRdt.Schemata, "monitoring": l.IntelRdt.Monitoring, "seccomp": l.Seccomp.Enabled,
	} {
		if enabled == nil || !*enabled {
			t.Errorf("%s is not there", name)
		}
	}
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i, action := range l.Seccomp.Actions {
		profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{
			Names: []string{[]string{"mkdir", "rmdir", "chdir"}[i%3]}, Action: specs.LinuxSeccompAction(action),
		})
	}
	for _, op := range l.Seccomp.Operators {
		profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{
			Names: []string{"personality"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Value: 7, Op: specs.LinuxSeccompOperator(op)}},
		})
	}
	program, err := seccomp.Compile(profile)
	if err != nil || !program.Notifies() {
		t.Errorf("all actions and operators: %v, %v", program, err)
	}
	for _, mode := range l.MemoryPolicy.Modes {
		p := &specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(mode)}
		for _, flag := range l.MemoryPolicy.Flags {
			p.Flags = append(p.Flags, specs.MemoryPolicyFlagType(flag))
		}
		if _, err := plan.BuildMemoryPolicy(p); err != nil || len(p.Flags) != 3 {
			t.Errorf("%s: %v", mode, err)
		}
	}
	// What is listed is not passed on to the filesystem.
	if o := mount.ParseOptions(f.MountOptions); len(o.Data) > 0 || !o.IDMap || !o.RecIDMap {
		t.Errorf("options: got %+v", o)
	}
	if !slices.Contains(f.MountOptions, "rro") {
		t.Errorf("options: %v", f.MountOptions)
	}
}
