package plan

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestParseSet(t *testing.T) {
	for text, want := range map[string]Set{
		"": nil, "0": {1}, "0-3,7": {0x8f}, "63": {1 << 63}, "64": {0, 1}, "1,65,1": {2, 2}, "62-65": {3 << 62, 3},
	} {
		if got, err := parseSet(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %x, %v", text, got, err)
		}
	}
	for _, text := range []string{",", "1,", "a", "-1", "1-", "3-1", " 1", "8192", "0-99999999999", "0x1", "1-2-3"} {
		if got, err := parseSet(text); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: got %x, %v", text, got, err)
		}
	}
}

func TestBuildMemoryPolicy(t *testing.T) {
	got, err := BuildMemoryPolicy(&specs.LinuxMemoryPolicy{
		Mode: specs.MpolInterleave, Nodes: "2-3", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes, specs.MpolFNumaBalancing},
	})
	if err != nil || got.Mode != 3|1<<15|1<<13 || !slices.Equal(got.Nodes, Set{0xc}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, p := range map[string]specs.LinuxMemoryPolicy{
		"mode":    {Mode: "MPOL_BEST"},
		"no mode": {},
		"flag":    {Mode: specs.MpolBind, Flags: []specs.MemoryPolicyFlagType{"x"}},
		"nodes":   {Mode: specs.MpolBind, Nodes: "x"},
	} {
		if _, err := BuildMemoryPolicy(&p); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
