package seccompprofile

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/linux/seccomp"
)

// permits is what a profile decides of an ioctl, as far as KeepProjects wrote it.
func permits(cfg *specs.LinuxSeccomp, command uint64) bool {
	found := allows(cfg.DefaultAction)
	for _, call := range cfg.Syscalls {
		if len(call.Names) != 1 || call.Names[0] != "ioctl" {
			continue
		}
		if a := call.Args[0]; command&a.Value == a.ValueTwo {
			found = allows(call.Action)
		}
	}
	return found
}

func TestKeepProjects(t *testing.T) {
	if KeepProjects(nil) != nil {
		t.Error("no profile became one")
	}
	def, err := Default(withBounding())
	if err != nil {
		t.Fatal(err)
	}
	open := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for name, cfg := range map[string]*specs.LinuxSeccomp{"default": def, "open": open} {
		kept := KeepProjects(cfg)
		if unconditional(kept, "ioctl") == specs.ActAllow || unconditional(kept, "file_setattr") == specs.ActAllow {
			t.Errorf("%s: all is allowed", name)
		}
		for _, command := range projectCommands {
			for _, same := range []uint64{uint64(command), 1<<32 | uint64(command), 0xffffffff<<32 | uint64(command)} {
				if permits(kept, same) {
					t.Errorf("%s: %#x is allowed", name, same)
				}
			}
			for bit := range 32 {
				if other := uint64(command ^ 1<<bit); !permits(kept, other) && other != uint64(projectCommands[1]) && other != uint64(projectCommands[2]) {
					t.Errorf("%s: %#x is not allowed", name, other)
				}
			}
		}
		for _, command := range []uint64{0, 0x5401, 0xffffffff, 0x5421} {
			if !permits(kept, command) {
				t.Errorf("%s: %#x is not allowed", name, command)
			}
		}
		if p, err := seccomp.Compile(kept); err != nil || p == nil {
			t.Errorf("%s: compiled to %v, %v", name, p, err)
		}
	}
	if unconditional(def, "ioctl") != specs.ActAllow {
		t.Error("the profile that was given has changed")
	}
}
