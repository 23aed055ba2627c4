package container

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/errs"
)

// smallMachine has two CPUs and a kernel without weights, as many machines do.
var smallMachine = machine{cpus: 2, cpuset: "0-1", mems: "0", oomControl: true, swappiness: true}

// What contradicts itself or the machine is refused in Docker's words.
func TestValidateRefuses(t *testing.T) {
	for want, change := range map[string]func(*container.Config, *container.HostConfig){
		"Minimum memory reservation allowed is 6MB":                                  func(_ *container.Config, h *container.HostConfig) { h.MemoryReservation = 1 << 20 },
		"range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available":     func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs = 3e9 },
		"Conflicting options: Nano CPUs and CPU Period cannot both be set":           func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs, h.CPUPeriod = 1e9, 1000 },
		"Requested CPUs are not available - requested 0-2, available: 0-1":           func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "0-2" },
		"Invalid value x for cpuset cpus: invalid format: x":                         func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "x" },
		"Invalid value 0-99999 for cpuset cpus: value out of range, maximum is 8191": func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "0-99999" },
		"Requested memory nodes are not available - requested 1, available: 0":       func(_ *container.Config, h *container.HostConfig) { h.CpusetMems = "1" },
		"Range of blkio weight is from 10 to 1000":                                   nil, // below, on a machine with weights
		"invalid isolation (hyperv): linux only supports 'default'":                  func(_ *container.Config, h *container.HostConfig) { h.Isolation = "hyperv" },
		"Interval in Healthcheck cannot be less than 1ms": func(c *container.Config, _ *container.HostConfig) {
			c.Healthcheck = &container.HealthConfig{Interval: 1}
		},
		"invalid Annotations: the empty string is not permitted as an annotation key": func(_ *container.Config, h *container.HostConfig) { h.Annotations = map[string]string{"": "a"} },
		"logger: logging mode not supported: slow": func(_ *container.Config, h *container.HostConfig) {
			h.LogConfig.Config = map[string]string{"mode": "slow"}
		},
		"logger: max-buffer-size option is only supported with 'mode=non-blocking'": func(_ *container.Config, h *container.HostConfig) {
			h.LogConfig.Config = map[string]string{"max-buffer-size": "1m"}
		},
		"conflicting options: hostname and the network mode": func(c *container.Config, h *container.HostConfig) { c.Hostname, h.NetworkMode = "a", "container:x" },
		"conflicting options: port publishing and the container type network mode": func(_ *container.Config, h *container.HostConfig) {
			h.PublishAllPorts, h.NetworkMode = true, "container:x"
		},
		"conflicting options: port exposing and the container type network mode": func(c *container.Config, h *container.HostConfig) {
			c.ExposedPorts, h.NetworkMode = network.PortSet{{}: {}}, "container:x"
		},
		"invalid network mode: invalid container format container:<name|id>":       func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "container:" },
		"conflicting options: hostname and the UTS mode":                           func(c *container.Config, h *container.HostConfig) { c.Hostname, h.UTSMode = "a", "host" },
		"invalid option: QoS maximum IOPs configuration is not supported on linux": func(_ *container.Config, h *container.HostConfig) { h.IOMaximumIOps = 1 },
		"cpu real-time runtime cannot be higher than cpu real-time period":         func(_ *container.Config, h *container.HostConfig) { h.CPURealtimePeriod, h.CPURealtimeRuntime = 1, 2 },
		"conflicting options: host type networking can't be used with links. This would result in undefined behavior": func(_ *container.Config, h *container.HostConfig) {
			h.NetworkMode, h.Links = "host", []string{"a"}
		},
	} {
		cfg, host, m := &container.Config{}, validHost(), smallMachine
		if change == nil {
			host.BlkioWeight, m.blkioWeight = 5, true
		} else {
			change(cfg, host)
		}
		_, err := validate(cfg, host, m, false)
		if !errs.Is(err, errs.InvalidArgument) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func validHost() *container.HostConfig {
	return &container.HostConfig{
		NetworkMode: "bridge", IpcMode: "private", CgroupnsMode: "private", Runtime: DefaultRuntime,
		RestartPolicy: container.RestartPolicy{Name: "no"}, LogConfig: container.LogConfig{Type: logJSON},
	}
}

// What the machine does not have is taken out, and said so.
func TestValidateDiscards(t *testing.T) {
	host := validHost()
	swappiness, disable := int64(10), true
	host.BlkioWeight, host.MemorySwappiness, host.OomKillDisable = 5, &swappiness, &disable
	warnings, err := validate(&container.Config{}, host, machine{cpus: 1}, false)
	if err != nil {
		t.Fatal(err)
	}
	if host.BlkioWeight != 0 || host.MemorySwappiness != nil || host.OomKillDisable != nil {
		t.Errorf("left: weight %d, swappiness %v, oom %v", host.BlkioWeight, host.MemorySwappiness, host.OomKillDisable)
	}
	for _, want := range []string{"Block I/O weight", "swappiness", "OomKillDisable"} {
		if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning of %s in %q", want, warnings)
		}
	}
}

// An update does not bring limits into conflict with those of create.
func TestUpdateContradicts(t *testing.T) {
	have := container.Resources{NanoCPUs: 1e9, Memory: 50 << 20, MemorySwap: 100 << 20}
	for _, from := range []container.Resources{{CPUPeriod: 1000}, {CPUQuota: 1000}, {Memory: 200 << 20}} {
		to := have
		if err := mergeResources(&to, &from); !errs.Is(err, errs.Conflict) {
			t.Errorf("%+v: %v", from, err)
		}
	}
	to := container.Resources{}
	if err := mergeResources(&to, &container.Resources{Memory: 50 << 20}); err != nil || to.MemorySwap != 100<<20 {
		t.Errorf("first limit: swap %d, %v", to.MemorySwap, err)
	}
}
