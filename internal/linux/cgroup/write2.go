package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// writeV2 writes limits to a group in the unified hierarchy.
func (g Group) writeV2(r *Resources) error {
	f := &files{dir: g.Unified}
	f.pids(r.PidsLimit)
	memoryV2(f, r)
	ioV2(f, r)
	cpuV2(f, r)
	f.text("cpuset.cpus", r.CpusetCpus)
	f.text("cpuset.mems", r.CpusetMems)
	f.hugepages(r.HugetlbLimit, ".max")
	f.rdma(r.Rdma)
	for _, name := range slices.Sorted(maps.Keys(r.Unified)) {
		if f.err == nil {
			f.err = unified(f, name, r.Unified[name])
		}
	}
	return f.err
}

// limitText is a limit as v2 has it, "" if there is nothing to write.
func limitText(n int64) string {
	switch n {
	case 0:
		return ""
	case -1:
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func memoryV2(f *files, r *Resources) {
	if r.Memory == 0 && r.MemoryReservation == 0 && r.MemorySwap == 0 {
		return
	}
	if r.MemoryCheckBeforeUpdate {
		f.fail(checkMemory(f, r))
	}
	swap, err := swapOnly(r.MemorySwap, r.Memory)
	if err != nil {
		f.fail(err)
	}
	text := limitText(swap)
	if swap == 0 && r.MemorySwap > 0 {
		text = "0" // as much for both as for memory: no swap
	}
	if f.err == nil && text != "" {
		// Where there is no accounting of swap, none and all are the same.
		if err := f.try("memory.swap.max", text); err != nil && !(absent(err) && (text == "max" || text == "0")) {
			f.fail(err)
		}
	}
	f.text("memory.max", limitText(r.Memory))
	f.text("memory.low", limitText(r.MemoryReservation))
}

// checkMemory refuses limits below what is used, which would end the container.
func checkMemory(f *files, r *Resources) error {
	usage, err := f.read("memory.current")
	switch {
	case err != nil:
		return nil // a new group uses nothing
	case r.MemorySwap > 0 && uint64(r.MemorySwap) <= usage:
		return fmt.Errorf("rejecting memory+swap limit %d <= usage %d", r.MemorySwap, usage)
	case r.Memory > 0 && uint64(r.Memory) <= usage:
		return fmt.Errorf("rejecting memory limit %d <= usage %d", r.Memory, usage)
	}
	return nil
}

func ioV2(f *files, r *Resources) {
	if r.BlkioWeight != 0 || len(r.BlkioWeightDevice) > 0 {
		ioWeights(f, r)
	}
	f.throttles("io.max", "rbps=", r.BlkioThrottleReadBpsDevice)
	f.throttles("io.max", "wbps=", r.BlkioThrottleWriteBpsDevice)
	f.throttles("io.max", "riops=", r.BlkioThrottleReadIOPSDevice)
	f.throttles("io.max", "wiops=", r.BlkioThrottleWriteIOPSDevice)
}

// ioWeights uses the BFQ scheduler's weight, which has v1's scale, if there is
// one. It has weights of devices since Linux 5.4, and shows more than one number
// then.
func ioWeights(f *files, r *Resources) {
	const bfq = "io.bfq.weight"
	now, err := fd.ReadFile(filepath.Join(f.dir, bfq))
	if err != nil {
		f.number("io.weight", ioWeight(r.BlkioWeight))
		return
	}
	f.number(bfq, uint64(r.BlkioWeight))
	if _, err := strconv.ParseInt(strings.TrimSpace(string(now)), 10, 64); err == nil {
		return
	}
	for _, d := range r.BlkioWeightDevice {
		f.put(bfq, fmt.Sprintf("%d:%d %d\n", d.Major, d.Minor, d.Weight))
	}
}

func cpuV2(f *files, r *Resources) {
	if r.CPUIdle != nil {
		f.put("cpu.idle", strconv.FormatInt(*r.CPUIdle, 10))
	}
	f.number("cpu.weight", r.CpuWeight)
	burst := ""
	if r.CpuBurst != nil {
		burst = strconv.FormatUint(*r.CpuBurst, 10)
	}
	f.dependent("cpu.max.burst", burst, func() {
		if r.CpuQuota == 0 && r.CpuPeriod == 0 {
			return
		}
		quota, period := "max", r.CpuPeriod
		if r.CpuQuota > 0 {
			quota = strconv.FormatInt(r.CpuQuota, 10)
		}
		if period == 0 {
			period = 100_000 // the kernel's own
		}
		f.put("cpu.max", quota+" "+strconv.FormatUint(period, 10))
	})
}

// unified writes what is for one of the group's files, a line at a time, as the
// kernel wants it.
func unified(f *files, name, value string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("unified resource %q must be a file name (no slashes)", name)
	}
	for line := range strings.SplitAfterSeq(value, "\n") {
		if line == "" && value != "" {
			continue // after the last
		}
		if err := f.try(name, line); err != nil {
			return unifiedError(f, name, err)
		}
	}
	return nil
}

// unifiedError says that a whole controller is missing if that is so.
func unifiedError(f *files, name string, err error) error {
	if absent(err) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		controller, _, ok := strings.Cut(name, ".")
		if !ok {
			return fmt.Errorf("unified resource %q must be in the form CONTROLLER.PARAMETER", name)
		}
		have, rerr := fd.ReadFile(filepath.Join(f.dir, "cgroup.controllers"))
		if rerr == nil && controller != "cgroup" && !slices.Contains(strings.Fields(string(have)), controller) {
			return fmt.Errorf("unified resource %q can't be set: controller %q not available", name, controller)
		}
	}
	return fmt.Errorf("unable to set unified resource %q: %w", name, err)
}
