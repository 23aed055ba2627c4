package cgroup

import (
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

func TestParseScope(t *testing.T) {
	for _, tc := range []struct{ path, unit, slice, dir string }{
		{"", "gantry-id.scope", "", ""},
		{"machine.slice:libpod:abc", "libpod-abc.scope", "machine.slice", "/machine.slice"},
		{":docker:x", "docker-x.scope", "", ""},
		{"a-b.slice:cri-containerd:x", "cri-containerd-x.scope", "a-b.slice", "/a.slice/a-b.slice"},
		{"-.slice:p:x", "p-x.scope", "-.slice", "/"},
	} {
		s, dir, err := parseScope(tc.path, "id")
		if err != nil || s.Unit != tc.unit || s.Slice != tc.slice || dir != tc.dir || s.User {
			t.Errorf("%q: %+v, %q, %v", tc.path, s, dir, err)
		}
	}
	for path, want := range map[string]string{
		"/docker/x":           `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/docker/x" instead`,
		"a.slice:b":           `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "a.slice:b" instead`,
		"a.slice:b:":          `cgroupsPath "a.slice:b:" does not name a systemd unit`,
		"a.slice:b:../c":      `cgroupsPath "a.slice:b:../c" does not name a systemd unit`,
		"../a.slice:b:c":      `cgroupsPath "../a.slice:b:c": invalid slice name: ../a.slice`,
		"system.scope:b:c":    `cgroupsPath "system.scope:b:c": invalid slice name: system.scope`,
		"a--b.slice:docker:c": `cgroupsPath "a--b.slice:docker:c": invalid slice name: a--b.slice`,
	} {
		if _, _, err := parseScope(path, "id"); !errs.Is(err, errs.InvalidArgument) || err.Error() != want {
			t.Errorf("%q: got %v", path, err)
		}
	}
}

func TestSystemdVersion(t *testing.T) {
	for text, want := range map[string]int{"252.38-1~deb12u1": 252, "v245": 245, "257": 257, "": 0, "odd": 0} {
		if got := parseVersion(text); got != want {
			t.Errorf("%s: got %d", text, got)
		}
	}
}

// text is a list of properties for comparison.
func text(list []systemd.Property) string {
	var all []string
	for _, p := range list {
		all = append(all, p.Name+"="+p.Value.String())
	}
	return strings.Join(all, " ")
}

func TestLimitProperties(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	sda := ThrottleDevice{8, 0, 1000}
	for _, tc := range []struct {
		name    string
		r       Resources
		v2      bool
		version int
		want    string
	}{
		{"nothing", Resources{}, true, 252, ""},
		{"v1", Resources{Memory: 64 << 20, CpuShares: 512, CpuWeight: 20, BlkioWeight: 300, PidsLimit: n(7), MemorySwap: 128 << 20}, false, 252,
			"MemoryLimit=67108864 CPUShares=512 BlockIOWeight=300 TasksMax=7"},
		{"v2", Resources{Memory: 64 << 20, MemoryReservation: 1 << 20, MemorySwap: 96 << 20, CpuShares: 512, CpuWeight: 20, BlkioWeight: 1000, PidsLimit: n(7)}, true, 252,
			"MemoryMax=67108864 MemoryLow=1048576 MemorySwapMax=33554432 CPUWeight=20 IOWeight=10000 TasksMax=7"},
		{"unlimited", Resources{Memory: -1, MemorySwap: -1, PidsLimit: n(-1), CpuQuota: -1}, true, 252,
			"MemoryMax=18446744073709551615 MemorySwapMax=18446744073709551615 TasksMax=18446744073709551615 CPUQuotaPerSecUSec=18446744073709551615"},
		{"no process at all", Resources{PidsLimit: n(0)}, false, 252, "TasksMax=1"},
		{"quota", Resources{CpuQuota: 50000, CpuPeriod: 200000}, false, 252, "CPUQuotaPeriodUSec=200000 CPUQuotaPerSecUSec=250000"},
		{"quota of an old systemd", Resources{CpuQuota: 50000, CpuPeriod: 200000}, false, 241, "CPUQuotaPerSecUSec=250000"},
		{"quota of the usual period", Resources{CpuQuota: 12345}, true, 252, "CPUQuotaPerSecUSec=130000"},
		{"cpuset", Resources{CpusetCpus: "0,2-3", CpusetMems: "0"}, true, 252, "AllowedCPUs=[13] AllowedMemoryNodes=[1]"},
		{"cpuset of an old systemd", Resources{CpusetCpus: "0,2-3"}, true, 243, ""},
		{"idle", Resources{CPUIdle: n(1), CpuWeight: 50}, true, 252, "CPUWeight=0"},
		{"throttles of v1", Resources{BlkioThrottleReadBpsDevice: []ThrottleDevice{sda}, BlkioThrottleReadIOPSDevice: []ThrottleDevice{sda}}, false, 252,
			"BlockIOReadBandwidth=[{/dev/block/8:0 1000}]"},
		{"throttles of v2", Resources{BlkioThrottleWriteBpsDevice: []ThrottleDevice{sda}, BlkioThrottleReadIOPSDevice: []ThrottleDevice{sda}}, true, 252,
			"IOReadIOPSMax=[{/dev/block/8:0 1000}] IOWriteBandwidthMax=[{/dev/block/8:0 1000}]"},
		{"unified", Resources{Unified: map[string]string{
			"memory.high": "1000", "memory.max": "max", "pids.max": "0", "cpu.max": "max 50000", "cpuset.cpus": "1", "cpuset.mems": "0", "io.bfq.weight": "7",
		}}, true, 252, "CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=18446744073709551615 AllowedCPUs=[2] AllowedMemoryNodes=[1] " +
			"MemoryHigh=1000 MemoryMax=18446744073709551615 TasksMax=1"},
	} {
		got, err := limitProperties(&tc.r, tc.v2, tc.version)
		if err != nil || text(got) != tc.want {
			t.Errorf("%s: got %s, %v", tc.name, text(got), err)
		}
	}
	r := &Resources{CpuQuota: 12345, CpuPeriod: 100000}
	if _, err := limitProperties(r, true, 252); err != nil || r.CpuQuota != 13000 {
		t.Errorf("what is written is %d, %v", r.CpuQuota, err)
	}
	for _, r := range []Resources{
		{CpusetCpus: "x"}, {Unified: map[string]string{"memory.max": "much"}}, {Unified: map[string]string{"cpu.max": "1 x"}}, {MemorySwap: 1000, Memory: 2000},
	} {
		if got, err := limitProperties(&r, true, 252); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%+v: got %s, %v", r, text(got), err)
		}
	}
}

func TestDeviceProperties(t *testing.T) {
	for _, tc := range []struct {
		rules []DeviceRule
		want  string
	}{
		{nil, ""},
		{rules("allow a *:* rwm"), "DeviceAllow=[] DevicePolicy=auto"},
		{rules("deny a *:* rwm"), "DeviceAllow=[] DevicePolicy=strict DeviceAllow=[]"},
		{rules("deny a *:* rwm", "allow c 1:3 rwm", "allow c 136:* rw", "allow b *:* m", "allow c *:5 r"),
			"DeviceAllow=[] DevicePolicy=strict DeviceAllow=[{/dev/char/1:3 rwm} {char-136 rw} {block-* m}]"},
		{rules("deny a *:* rwm", "allow c 10:* rwm", "deny c 10:200 rwm"), "DeviceAllow=[] DevicePolicy=strict DeviceAllow=[{char-10 rwm}]"},
		{rules("allow a *:* rwm", "deny b 8:0 w"), "DeviceAllow=[] DevicePolicy=strict DeviceAllow=[]"},
	} {
		if got := text(deviceProperties(tc.rules)); got != tc.want {
			t.Errorf("%v: got %s", tc.rules, got)
		}
	}
}

func TestAnnotatedProperties(t *testing.T) {
	got, err := AnnotatedProperties(map[string]string{
		"org.systemd.property.TimeoutStopSec": "1.5", "org.systemd.property.TimeoutStartUSec": "uint64 7", "other": "x",
		"org.systemd.property.CollectMode": "'inactive-or-failed'", "org.systemd.property.Delegate": "true", "org.systemd.property.RuntimeMaxSec": "uint64 4",
	})
	want := "CollectMode=inactive-or-failed Delegate=true RuntimeMaxUSec=4000000 TimeoutStartUSec=7 TimeoutStopUSec=1500000"
	if err != nil || text(got) != want {
		t.Errorf("got %s, %v", text(got), err)
	}
	for key, value := range map[string]string{
		"org.systemd.property.": "1", "org.systemd.property.A b": "1", "org.systemd.property.Delegate": "'", "org.systemd.property.XSec": "true",
		"org.systemd.property.YSec": "-1",
	} {
		if got, err := AnnotatedProperties(map[string]string{key: value}); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s=%s: got %s, %v", key, value, text(got), err)
		}
	}
}
