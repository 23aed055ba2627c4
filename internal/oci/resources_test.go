package oci

import (
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// TestBuildResources translates every limit; what the kernel does with them is the
// cgroup library's and the kernel's affair.
func TestBuildResources(t *testing.T) {
	weight := specs.LinuxWeightDevice{Weight: ptr(uint16(20)), LeafWeight: ptr(uint16(30))}
	weight.Major, weight.Minor = 8, 1
	throttle := func(rate uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = 8, 2
		return []specs.LinuxThrottleDevice{d}
	}
	in := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{
			Limit: ptr(int64(1)), Reservation: ptr(int64(2)), Swap: ptr(int64(3)), Swappiness: ptr(uint64(4)),
			DisableOOMKiller: ptr(true), CheckBeforeUpdate: ptr(true),
			KernelTCP: ptr(int64(5)), UseHierarchy: ptr(true), // the kernel has neither any more
		},
		CPU: &specs.LinuxCPU{
			Shares: ptr(uint64(1024)), Quota: ptr(int64(6)), Burst: ptr(uint64(7)), Period: ptr(uint64(8)),
			RealtimeRuntime: ptr(int64(9)), RealtimePeriod: ptr(uint64(10)), Cpus: "0-1", Mems: "0", Idle: ptr(int64(1)),
		},
		Pids: &specs.LinuxPids{Limit: ptr(int64(11))},
		BlockIO: &specs.LinuxBlockIO{
			Weight: ptr(uint16(12)), LeafWeight: ptr(uint16(13)), WeightDevice: []specs.LinuxWeightDevice{weight},
			ThrottleReadBpsDevice: throttle(14), ThrottleWriteBpsDevice: throttle(15),
			ThrottleReadIOPSDevice: throttle(16), ThrottleWriteIOPSDevice: throttle(17),
		},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 18}},
		Network:        &specs.LinuxNetwork{ClassID: ptr(uint32(19)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 20}}},
		Rdma:           map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(21)), HcaObjects: ptr(uint32(22))}},
	}
	limit := func(rate uint64) []cgroup.ThrottleDevice {
		return []cgroup.ThrottleDevice{{Major: 8, Minor: 2, Rate: rate}}
	}
	want := &cgroup.Resources{
		Memory: 1, MemoryReservation: 2, MemorySwap: 3, MemorySwappiness: ptr(uint64(4)), OomKillDisable: true,
		MemoryCheckBeforeUpdate: true, CpuShares: 1024, CpuQuota: 6, CpuBurst: ptr(uint64(7)), CpuPeriod: 8, CpuRtRuntime: 9,
		CpuRtPeriod: 10, CpusetCpus: "0-1", CpusetMems: "0", CPUIdle: ptr(int64(1)), PidsLimit: ptr(int64(11)),
		BlkioWeight: 12, BlkioLeafWeight: 13, BlkioWeightDevice: []cgroup.WeightDevice{{Major: 8, Minor: 1, Weight: 20, LeafWeight: 30}},
		BlkioThrottleReadBpsDevice: limit(14), BlkioThrottleWriteBpsDevice: limit(15),
		BlkioThrottleReadIOPSDevice: limit(16), BlkioThrottleWriteIOPSDevice: limit(17),
		HugetlbLimit: []cgroup.HugepageLimit{{Pagesize: "2MB", Limit: 18}}, NetClsClassid: 19,
		NetPrioIfpriomap: []cgroup.InterfacePriority{{Interface: "eth0", Priority: 20}},
		Rdma:             map[string]cgroup.RdmaLimit{"mlx5_1": {HcaHandles: ptr(uint32(21)), HcaObjects: ptr(uint32(22))}},
	}
	got, err := buildResources(in, false)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	in.Unified = map[string]string{"memory.high": "1"}
	want.Unified, want.CpuWeight = in.Unified, cgroup.CPUWeight(1024)
	if got, err = buildResources(in, true); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("v2: got  %+v, %v\nwant %+v", got, err, want)
	}
	if _, err := buildResources(in, false); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("unified on v1: got %v", err)
	}
}
