package seccompprofile

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
)

func withBounding(caps ...string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
}

// unconditional tells whether a profile has a rule without conditions for a
// call, and with which action.
func unconditional(cfg *specs.LinuxSeccomp, name string) specs.LinuxSeccompAction {
	for _, call := range cfg.Syscalls {
		if slices.Contains(call.Names, name) && len(call.Args) == 0 {
			return call.Action
		}
	}
	return ""
}

func TestDefaultDependsOnCapabilities(t *testing.T) {
	for _, c := range []struct {
		caps   []string
		call   string
		action specs.LinuxSeccompAction
	}{
		{nil, "mount", ""}, {[]string{"CAP_SYS_ADMIN"}, "mount", specs.ActAllow},
		{nil, "clone3", specs.ActErrno}, {[]string{"CAP_SYS_ADMIN"}, "clone3", specs.ActAllow},
		{nil, "chroot", ""}, {[]string{"CAP_SYS_CHROOT"}, "chroot", specs.ActAllow},
		{nil, "bpf", ""}, {[]string{"CAP_BPF"}, "bpf", specs.ActAllow},
		{nil, "read", specs.ActAllow}, {nil, "keyctl", ""}, {nil, "io_uring_setup", ""},
	} {
		cfg, err := Default(withBounding(c.caps...))
		if err != nil {
			t.Fatal(err)
		}
		if got := unconditional(cfg, c.call); got != c.action {
			t.Errorf("capabilities %v, %s: %q; want %q", c.caps, c.call, got, c.action)
		}
		if p, err := seccomp.Compile(cfg); err != nil || p == nil {
			t.Errorf("capabilities %v: compiled to %v, %v", c.caps, p, err)
		}
	}
}

func TestDefaultWithoutCapabilities(t *testing.T) {
	for _, spec := range []*specs.Spec{nil, {}, {Process: &specs.Process{}}} {
		cfg, err := Default(spec)
		if err != nil || unconditional(cfg, "mount") != "" {
			t.Errorf("spec %+v: %v, mount %q", spec, err, unconditional(cfg, "mount"))
		}
	}
}

func TestDefaultListsSubArchitectures(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("amd64's sub-architectures")
	}
	cfg, err := Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	if !slices.Equal(cfg.Architectures, want) {
		t.Errorf("architectures %v; want %v", cfg.Architectures, want)
	}
}

func TestLoad(t *testing.T) {
	const profile = `{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
		"syscalls":[
		{"name":"chmod","action":"SCMP_ACT_ERRNO"},
		{"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["reboot"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"255.0"}}]}`
	cfg, err := Load([]byte(profile), withBounding("CAP_SYS_ADMIN"))
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]specs.LinuxSeccompAction{"chmod": specs.ActErrno, "mount": "", "reboot": ""} {
		if got := unconditional(cfg, call); got != want {
			t.Errorf("%s: %q; want %q", call, got, want)
		}
	}
}

func TestLoadNothing(t *testing.T) {
	if cfg, err := Load([]byte(`{}`), nil); cfg != nil || err != nil {
		t.Errorf("empty profile: %v, %v; want none", cfg, err)
	}
}

func TestLoadInvalid(t *testing.T) {
	for _, profile := range []string{
		``, `{`, `[]`,
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}]}`,
	} {
		cfg, err := Load([]byte(profile), nil)
		if !errs.Is(err, errs.InvalidArgument) || cfg != nil {
			t.Errorf("%s: %v, %v; want invalid argument", profile, cfg, err)
		}
	}
	if _, err := Load([]byte(`{`), nil); !strings.HasPrefix(err.Error(), "Decoding seccomp profile failed: ") {
		t.Errorf("%v; want Docker's text", err)
	}
}
