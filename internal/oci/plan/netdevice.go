package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// NetDevice is a network device of the machine that the container gets.
type NetDevice struct {
	Name string // on the machine
	As   string // in the container; with %d for a number, the kernel finds a free one
}

// NetDevices translates the list of devices, sorted by name.
func NetDevices(devices map[string]specs.LinuxNetDevice) ([]NetDevice, error) {
	var all []NetDevice
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		d := devices[name]
		as := cmp.Or(d.Name, name)
		for _, n := range []string{name, as} {
			if !validDevice(n) {
				return nil, errs.New(errs.InvalidArgument, "netDevices: %q is not a valid name", n)
			}
		}
		if strings.Contains(name, "%") || strings.Count(as, "%") != strings.Count(as, "%d") || strings.Count(as, "%") > 1 {
			return nil, errs.New(errs.InvalidArgument, "netDevices: %q cannot be called %q", name, as)
		}
		if taken[as] && !strings.Contains(as, "%") {
			return nil, errs.New(errs.InvalidArgument, "netDevices: two devices would be called %q", as)
		}
		taken[as] = true
		all = append(all, NetDevice{name, as})
	}
	return all, nil
}

// validDevice tells whether the kernel takes the name for a device.
func validDevice(name string) bool {
	const size = 16 // IFNAMSIZ, with the NUL byte
	return name != "" && len(name) < size && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r\x00")
}
