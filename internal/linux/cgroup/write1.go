package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// writeV1 writes limits to a group in v1 hierarchies.
func (g Group) writeV1(r *Resources) error {
	if r.Unified != nil {
		return errors.New("cannot use unified on cgroup v1")
	}
	for _, c := range []struct {
		controller string
		write      func(*files, *Resources)
	}{
		{"cpuset", cpusetV1}, {"memory", memoryV1}, {"cpu", cpuV1},
		{"pids", func(f *files, r *Resources) { f.pids(r.PidsLimit) }},
		{"blkio", blkioV1},
		{"hugetlb", func(f *files, r *Resources) { f.hugepages(r.HugetlbLimit, ".limit_in_bytes") }},
		{"net_cls", func(f *files, r *Resources) { f.number("net_cls.classid", uint64(r.NetClsClassid)) }},
		{"net_prio", priorities},
		{"rdma", func(f *files, r *Resources) { f.rdma(r.Rdma) }},
	} {
		f := &files{dir: g.V1[c.controller], controller: c.controller}
		if c.write(f, r); f.err != nil {
			return f.err
		}
	}
	return nil
}

func priorities(f *files, r *Resources) {
	for _, p := range r.NetPrioIfpriomap {
		f.put("net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Interface, p.Priority))
	}
}

// cpusetV1 knows hierarchies that were mounted with noprefix, too.
func cpusetV1(f *files, r *Resources) {
	prefix := "cpuset."
	if (r.CpusetCpus != "" || r.CpusetMems != "") && !f.has(prefix+"cpus") && f.has("cpus") {
		prefix = ""
	}
	f.text(prefix+"cpus", r.CpusetCpus)
	f.text(prefix+"mems", r.CpusetMems)
}

const (
	memoryLimit = "memory.limit_in_bytes"
	swapLimit   = "memory.memsw.limit_in_bytes"
)

func memoryV1(f *files, r *Resources) {
	memoryAndSwap(f, r)
	f.signed("memory.soft_limit_in_bytes", r.MemoryReservation)
	if r.OomKillDisable {
		f.put("memory.oom_control", "1")
	}
	switch n := r.MemorySwappiness; {
	case n == nil || int64(*n) == -1: // Docker's word for "as it is"
	case *n > 100:
		f.fail(fmt.Errorf("invalid memory swappiness value: %d (valid range is 0-100)", *n))
	default:
		f.put("memory.swappiness", strconv.FormatUint(*n, 10))
	}
}

// memoryAndSwap writes two limits of which the second must never be the lower one.
func memoryAndSwap(f *files, r *Resources) {
	swap := r.MemorySwap
	if r.Memory == -1 && swap == 0 && f.has(swapLimit) {
		swap = -1
	}
	if r.Memory != 0 && swap != 0 {
		now, err := f.read(memoryLimit)
		if err != nil {
			f.fail(err)
			return
		}
		if swap == -1 || now < uint64(swap) {
			f.signed(swapLimit, swap)
			setMemoryV1(f, r.Memory)
			return
		}
	}
	setMemoryV1(f, r.Memory)
	f.signed(swapLimit, swap)
}

func setMemoryV1(f *files, limit int64) {
	f.signed(memoryLimit, limit)
	if !errors.Is(f.err, unix.EBUSY) {
		return
	}
	usage, uerr := f.read("memory.usage_in_bytes")
	peak, perr := f.read("memory.max_usage_in_bytes")
	if uerr == nil && perr == nil {
		f.err = fmt.Errorf("unable to set memory limit to %d (current usage: %d, peak usage: %d)", limit, usage, peak)
	}
}

func cpuV1(f *files, r *Resources) {
	if f.number("cpu.shares", r.CpuShares); r.CpuShares != 0 && f.err == nil {
		checkShares(f, r.CpuShares)
	}
	period, burst := nonzero(r.CpuPeriod), ""
	if r.CpuBurst != nil && f.has("cpu.cfs_burst_us") { // since Linux 5.14
		burst = strconv.FormatUint(*r.CpuBurst, 10)
	}
	quota := func() { f.signed("cpu.cfs_quota_us", r.CpuQuota) }
	f.dependent("cpu.cfs_period_us", period, func() { f.dependent("cpu.cfs_burst_us", burst, quota) })
	if r.CPUIdle != nil {
		f.put("cpu.idle", strconv.FormatInt(*r.CPUIdle, 10))
	}
	f.dependent("cpu.rt_period_us", nonzero(r.CpuRtPeriod), func() { f.signed("cpu.rt_runtime_us", r.CpuRtRuntime) })
}

func nonzero(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// checkShares tells of a value that the kernel has put into its range.
func checkShares(f *files, want uint64) {
	switch got, err := f.read("cpu.shares"); {
	case err != nil:
		f.fail(err)
	case want > got:
		f.fail(fmt.Errorf("the maximum allowed cpu-shares is %d", got))
	case want < got:
		f.fail(fmt.Errorf("the minimum allowed cpu-shares is %d", got))
	}
}

func blkioV1(f *files, r *Resources) {
	prefix := "blkio."
	if (r.BlkioWeight != 0 || len(r.BlkioWeightDevice) > 0) && !f.has("blkio.weight") {
		prefix = "blkio.bfq." // since Linux 5.0
	}
	f.number(prefix+"weight", uint64(r.BlkioWeight))
	f.number("blkio.leaf_weight", uint64(r.BlkioLeafWeight))
	for _, d := range r.BlkioWeightDevice {
		if d.Weight != 0 {
			f.put(prefix+"weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Weight))
		}
		if d.LeafWeight != 0 {
			f.put("blkio.leaf_weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.LeafWeight))
		}
	}
	f.throttles("blkio.throttle.read_bps_device", "", r.BlkioThrottleReadBpsDevice)
	f.throttles("blkio.throttle.write_bps_device", "", r.BlkioThrottleWriteBpsDevice)
	f.throttles("blkio.throttle.read_iops_device", "", r.BlkioThrottleReadIOPSDevice)
	f.throttles("blkio.throttle.write_iops_device", "", r.BlkioThrottleWriteIOPSDevice)
}

// absent tells whether err says that there is no such file or group.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
