// Package seccompprofile chooses a container's seccomp profile: Docker's
// default or one that the user gives, with its conditions on capabilities,
// architecture and kernel resolved for one container. It is apart from
// internal/linux/seccomp, which compiles profiles, because the default profile
// is big and must stay out of the container runtime's binary. How --security-opt
// is parsed does not belong here.
package seccompprofile

import (
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// Default gives Docker's default profile for a container with spec's bounding
// capabilities. Each call returns a value of its own. Kind Internal if the
// running kernel's version cannot be read.
func Default(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	return seccomp.GetDefaultProfile(withCapabilities(spec))
}

// Load resolves a profile in Docker's JSON form (--security-opt seccomp=FILE)
// for a container with spec's bounding capabilities. A profile without default
// action and rules gives nil: no filter. An invalid one is errs.InvalidArgument.
func Load(profileJSON []byte, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	cfg, err := seccomp.LoadProfile(string(profileJSON), withCapabilities(spec))
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	return cfg, nil
}

// withCapabilities spares the profile's conditions a spec without capabilities.
func withCapabilities(spec *specs.Spec) *specs.Spec {
	if spec != nil && spec.Process != nil && spec.Process.Capabilities != nil {
		return spec
	}
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
}
