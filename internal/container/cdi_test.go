package container

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

func TestCDINames(t *testing.T) {
	known := []string{"other.example/nic=0", "vendor.example/gpu=0", "vendor.example/gpu=all"}
	gpu := [][]string{{"gpu"}}
	for want, r := range map[string]container.DeviceRequest{
		"vendor.example/gpu=all": {Count: -1, Capabilities: gpu},
		"vendor.example/gpu=0":   {Count: 1, Capabilities: gpu},
		"vendor.example/gpu=7":   {DeviceIDs: []string{"7"}, Capabilities: gpu, Driver: "vendor"},
		"other.example/nic=0":    {Driver: "cdi", DeviceIDs: []string{"other.example/nic=0"}},
	} {
		if got, err := cdiNames(&r, known); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%+v: %q, %v, want %s", r, got, err, want)
		}
	}
	for _, r := range []container.DeviceRequest{{Count: 1, Capabilities: [][]string{{"tpu"}}}, {Count: 1, Capabilities: gpu, Driver: "else"}} {
		if got, err := cdiNames(&r, known); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%+v: %q, %v", r, got, err)
		}
	}
}
