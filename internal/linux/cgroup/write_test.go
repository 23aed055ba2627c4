package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// groupDir looks like a group's directory: files that exist may be written.
func groupDir(t *testing.T, names string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range strings.Fields(names) {
		name, text, _ := strings.Cut(f, "=")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// written lists what has been written to files that were empty.
func written(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 0 {
			all = append(all, e.Name()+"="+strings.TrimSpace(string(data)))
		}
	}
	return strings.Join(all, "; ")
}

func TestWrite(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	u := func(v uint64) *uint64 { return &v }
	handles := uint32(3)
	sda := []ThrottleDevice{{8, 0, 1000}}
	for _, tc := range []struct {
		name, files string
		v2          bool
		r           Resources
		want        string // or what an error has
	}{
		{"nothing", "memory.max", true, Resources{}, ""},
		{"memory", "memory.max memory.low memory.swap.max", true, Resources{Memory: 64, MemoryReservation: 32, MemorySwap: 96}, "memory.low=32; memory.max=64; memory.swap.max=32"},
		{"memory without swap", "memory.max memory.swap.max", true, Resources{Memory: 64, MemorySwap: 64}, "memory.max=64; memory.swap.max=0"},
		{"no limit of memory", "memory.max memory.swap.max", true, Resources{Memory: -1}, "memory.max=max; memory.swap.max=max"},
		{"no accounting of swap", "memory.max", true, Resources{Memory: 64, MemorySwap: 64}, "memory.max=64"},
		{"a limit of swap that cannot be", "memory.max", true, Resources{Memory: 64, MemorySwap: 96}, "memory.swap.max: no such file"},
		{"swap below memory", "memory.max", true, Resources{Memory: 64, MemorySwap: 32}, "memory+swap limit should be >= memory limit"},
		{"less than is used", "memory.max memory.current=100", true, Resources{Memory: 64, MemoryCheckBeforeUpdate: true}, "rejecting memory limit 64 <= usage 100"},
		{"CPU", "cpu.weight cpu.max cpu.idle cpu.max.burst", true, Resources{CpuWeight: 20, CpuQuota: 5000, CPUIdle: n(1), CpuBurst: u(7)},
			"cpu.idle=1; cpu.max=5000 100000; cpu.max.burst=7; cpu.weight=20"},
		{"no quota", "cpu.max", true, Resources{CpuQuota: -1, CpuPeriod: 50000}, "cpu.max=max 50000"},
		{"processes", "pids.max", true, Resources{PidsLimit: n(0)}, "pids.max=1"},
		{"processes without limit", "pids.max", true, Resources{PidsLimit: n(-1)}, "pids.max=max"},
		{"weights", "io.weight", true, Resources{BlkioWeight: 505, BlkioWeightDevice: []WeightDevice{{8, 0, 20, 0}}}, "io.weight=5000"},
		{"weight of BFQ", "io.bfq.weight=100", true, Resources{BlkioWeight: 505, BlkioWeightDevice: []WeightDevice{{8, 0, 20, 0}}}, "io.bfq.weight=505"},
		{"throttles", "io.max", true, Resources{BlkioThrottleReadBpsDevice: sda}, "io.max=8:0 rbps=1000"},
		{"huge pages", "hugetlb.2MB.max", true, Resources{HugetlbLimit: []HugepageLimit{{"2MB", 7}}}, "hugetlb.2MB.max=7"},
		{"reserved huge pages", "hugetlb.2MB.max hugetlb.2MB.rsvd.max", true, Resources{HugetlbLimit: []HugepageLimit{{"2MB", 7}}}, "hugetlb.2MB.max=7; hugetlb.2MB.rsvd.max=7"},
		{"RDMA", "rdma.max", true, Resources{Rdma: map[string]RdmaLimit{"mlx5_1": {HcaHandles: &handles}}}, "rdma.max=mlx5_1 hca_handle=3"},
		{"files", "memory.high cpuset.cpus", true, Resources{CpusetCpus: "0-1", Unified: map[string]string{"memory.high": "9"}}, "cpuset.cpus=0-1; memory.high=9"},
		{"a file elsewhere", "", true, Resources{Unified: map[string]string{"../x": "9"}}, "must be a file name"},
		{"a file without controller", "cgroup.controllers=cpu", true, Resources{Unified: map[string]string{"memory.high": "9"}}, `controller "memory" not available`},
		{"a file that is not one", "", true, Resources{Unified: map[string]string{"memory": "9"}}, "must be in the form CONTROLLER.PARAMETER"},

		{"memory", "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.swappiness memory.oom_control", false,
			Resources{Memory: -1, MemoryReservation: 5, MemorySwappiness: u(6), OomKillDisable: true},
			"memory.limit_in_bytes=-1; memory.memsw.limit_in_bytes=-1; memory.oom_control=1; memory.soft_limit_in_bytes=5; memory.swappiness=6"},
		{"swappiness as it is", "", false, Resources{MemorySwappiness: u(math.MaxUint64)}, ""},
		{"swappiness", "memory.swappiness", false, Resources{MemorySwappiness: u(101)}, "invalid memory swappiness value: 101 (valid range is 0-100)"},
		{"CPU", "cpu.cfs_quota_us cpu.cfs_period_us cpu.cfs_burst_us cpu.rt_runtime_us cpu.rt_period_us", false,
			Resources{CpuQuota: 5, CpuPeriod: 6, CpuBurst: u(7), CpuRtRuntime: 8, CpuRtPeriod: 9},
			"cpu.cfs_burst_us=7; cpu.cfs_period_us=6; cpu.cfs_quota_us=5; cpu.rt_period_us=9; cpu.rt_runtime_us=8"},
		{"no burst before Linux 5.14", "cpu.cfs_quota_us", false, Resources{CpuQuota: 5, CpuBurst: u(7)}, "cpu.cfs_quota_us=5"},
		{"shares", "cpu.shares", false, Resources{CpuShares: 77}, "cpu.shares=77"},
		{"weights", "blkio.weight blkio.weight_device blkio.leaf_weight_device", false, Resources{BlkioWeight: 20, BlkioWeightDevice: []WeightDevice{{8, 0, 20, 30}}},
			"blkio.leaf_weight_device=8:0 30; blkio.weight=20; blkio.weight_device=8:0 20"},
		{"weight of BFQ", "blkio.bfq.weight", false, Resources{BlkioWeight: 20}, "blkio.bfq.weight=20"},
		{"throttles", "blkio.throttle.write_iops_device", false, Resources{BlkioThrottleWriteIOPSDevice: sda}, "blkio.throttle.write_iops_device=8:0 1000"},
		{"cpuset", "cpuset.cpus cpuset.mems", false, Resources{CpusetCpus: "0", CpusetMems: "1"}, "cpuset.cpus=0; cpuset.mems=1"},
		{"cpuset without prefix", "cpus", false, Resources{CpusetCpus: "0"}, "cpus=0"},
		{"network", "net_cls.classid net_prio.ifpriomap", false, Resources{NetClsClassid: 5, NetPrioIfpriomap: []InterfacePriority{{"eth0", 6}}}, "net_cls.classid=5; net_prio.ifpriomap=eth0 6"},
		{"unified", "", false, Resources{Unified: map[string]string{}}, "cannot use unified on cgroup v1"},
	} {
		dir := groupDir(t, tc.files)
		g := Group{Unified: dir}
		if !tc.v2 {
			g = Group{V1: map[string]string{}}
			for _, c := range []string{"memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"} {
				g.V1[c] = dir
			}
		}
		if err := g.write(&tc.r); err != nil {
			if !strings.Contains(err.Error(), tc.want) || tc.want == "" {
				t.Errorf("v2 %v, %s: %v", tc.v2, tc.name, err)
			}
			continue
		}
		if got := written(t, dir); got != tc.want {
			t.Errorf("v2 %v, %s: got %s", tc.v2, tc.name, got)
		}
	}
	err := Group{V1: map[string]string{"memory": t.TempDir()}}.write(&Resources{PidsLimit: n(5)})
	if err == nil || err.Error() != "set cgroup limits: cannot set pids limit: container could not join or create cgroup" {
		t.Errorf("a limit without a group: %v", err)
	}
}

func TestScales(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		if got := CPUWeight(shares); got != want {
			t.Errorf("%d shares: got %d", shares, got)
		}
	}
	for weight, want := range map[uint16]uint64{0: 0, 1: 1, 10: 1, 1000: 10000} {
		if got := ioWeight(weight); got != want {
			t.Errorf("weight %d: got %d", weight, got)
		}
	}
}

// TestStatsFiles reads what Meter does not.
func TestStatsFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"memory.current": "100\n", "memory.max": "200\n", "memory.swap.current": "5\n", "memory.swap.max": "50\n", "memory.stat": "anon 1\nfile 60\n",
		"cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.50 total=3\n",
		"cgroup.procs": "1\n2\n", "hugetlb.2MB.current": "1\n", "hugetlb.2MB.rsvd.current": "4096\n", "hugetlb.2MB.events": "max 3\n", "hugetlb.1GB.current": "9\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st, err := Group{Unified: dir}.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if m := st.MemoryStats; m.Cache != 60 || m.SwapUsage != (MemoryData{Usage: 105, Limit: 250}) || m.PSI != nil {
		t.Errorf("memory: %+v", m)
	}
	if psi := st.CpuStats.PSI; psi == nil || *psi != (PSIStats{PSIData{1.5, 0.25, 0, 7}, PSIData{0, 0, 0.5, 3}}) {
		t.Errorf("pressure: %+v", psi)
	}
	if st.PidsStats.Current != 2 || st.HugetlbStats["2MB"] != (HugetlbStats{Usage: 4096, Failcnt: 3}) || st.HugetlbStats["1GB"].Usage != 9 || len(st.HugetlbStats) != 2 {
		t.Errorf("%+v %+v", st.PidsStats, st.HugetlbStats)
	}
	v1 := Group{V1: map[string]string{"cpuacct": groupDir(t, ""), "blkio": groupDir(t, ""), "memory": groupDir(t, "memory.kmem.usage_in_bytes=7")}}
	for name, text := range map[string]string{
		v1.V1["cpuacct"] + "/cpuacct.usage_all":              "cpu user system\n0 10 20\n1 30 40\n",
		v1.V1["blkio"] + "/blkio.bfq.sectors_recursive":      "8:0 16\n",
		v1.V1["blkio"] + "/blkio.throttle.io_service_bytes":  "8:0 Read 5\nTotal 5\n",
		v1.V1["blkio"] + "/blkio.io_queued_recursive":        "8:0 Read 2\n",
		v1.V1["memory"] + "/memory.memsw.max_usage_in_bytes": "8\n",
		v1.V1["memory"] + "/memory.kmem.tcp.limit_in_bytes":  "9\n",
		v1.V1["memory"] + "/memory.stat":                     "cache 11\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if st, err = v1.Stats(); err != nil {
		t.Fatal(err)
	}
	if u := st.CpuStats.CpuUsage; !slices.Equal(u.PercpuUsageInUsermode, []uint64{10, 30}) || !slices.Equal(u.PercpuUsageInKernelmode, []uint64{20, 40}) {
		t.Errorf("%+v", u)
	}
	b := st.BlkioStats
	if !slices.Equal(b.IoServiceBytesRecursive, []BlkioStatEntry{{8, 0, "Read", 5}}) || !slices.Equal(b.IoQueuedRecursive, []BlkioStatEntry{{8, 0, "Read", 2}}) ||
		!slices.Equal(b.SectorsRecursive, []BlkioStatEntry{{8, 0, "", 16}}) {
		t.Errorf("%+v", b)
	}
	if m := st.MemoryStats; m.KernelUsage.Usage != 7 || m.SwapUsage.MaxUsage != 8 || m.KernelTCPUsage.Limit != 9 || m.Cache != 11 {
		t.Errorf("%+v", m)
	}
	if _, err := (Group{Unified: filepath.Join(dir, "gone")}).Stats(); err == nil {
		t.Error("statistics of nothing")
	}
}
