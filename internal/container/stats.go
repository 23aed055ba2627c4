package container

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/cgroups"

	"github.com/gantry-run/gantry/internal/errs"
)

// statSample is the previous sample of a container: CPU use is a difference.
type statSample struct {
	read time.Time
	cpu  container.CPUStats
}

// Stats takes one sample. The first one's previous values are zero, as in Docker.
func (s *Service) Stats(ctx context.Context, id string) (container.StatsResponse, error) {
	c, err := s.find(id)
	if err != nil {
		return container.StatsResponse{}, err
	}
	r := c.view()
	resp := container.StatsResponse{ID: r.ID, Name: "/" + r.Name, OSType: r.Platform.OS}
	if !r.State.running() {
		return resp, nil // Docker gives an empty sample of a stopped container
	}
	raw, err := s.Supervisor.Stats(ctx, r.ID)
	if err != nil {
		if errs.Is(err, errs.Conflict) || errs.Is(err, errs.NotFound) {
			return resp, nil // it ended meanwhile
		}
		return resp, err
	}
	var st cgroups.Stats
	if err := json.Unmarshal(raw, &st); err != nil {
		return resp, fmt.Errorf("decode statistics of container %s: %w", r.ID, err)
	}
	resp.Read = time.Now().UTC()
	system, err := systemCPU()
	if err != nil {
		return resp, err
	}
	resp.CPUStats = cpuStats(&st, system)
	resp.MemoryStats = memoryStats(&st)
	resp.PidsStats = container.PidsStats{Current: st.PidsStats.Current, Limit: st.PidsStats.Limit}
	resp.BlkioStats = blkioStats(&st)
	if !r.Host.NetworkMode.IsHost() {
		resp.Networks = networkStats(r.State.Pid)
	}
	c.mu.Lock()
	resp.PreRead, resp.PreCPUStats = c.stats.read, c.stats.cpu
	c.stats = statSample{resp.Read, resp.CPUStats}
	c.mu.Unlock()
	return resp, nil
}

func cpuStats(st *cgroups.Stats, system uint64) container.CPUStats {
	cpu := st.CpuStats
	return container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: cpu.CpuUsage.TotalUsage, PercpuUsage: cpu.CpuUsage.PercpuUsage,
			UsageInKernelmode: cpu.CpuUsage.UsageInKernelmode, UsageInUsermode: cpu.CpuUsage.UsageInUsermode,
		},
		SystemUsage: system, OnlineCPUs: uint32(runtime.NumCPU()),
		ThrottlingData: container.ThrottlingData{
			Periods: cpu.ThrottlingData.Periods, ThrottledPeriods: cpu.ThrottlingData.ThrottledPeriods, ThrottledTime: cpu.ThrottlingData.ThrottledTime,
		},
	}
}

func memoryStats(st *cgroups.Stats) container.MemoryStats {
	m := st.MemoryStats
	out := container.MemoryStats{Usage: m.Usage.Usage, MaxUsage: m.Usage.MaxUsage, Stats: m.Stats, Failcnt: m.Usage.Failcnt, Limit: m.Usage.Limit}
	if total := hostMemory(); out.Limit == 0 || total > 0 && out.Limit > total {
		out.Limit = total // no limit: all there is
	}
	return out
}

func blkioStats(st *cgroups.Stats) container.BlkioStats {
	conv := func(in []cgroups.BlkioStatEntry) []container.BlkioStatEntry {
		out := make([]container.BlkioStatEntry, len(in))
		for i, e := range in {
			out[i] = container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value}
		}
		return out
	}
	b := st.BlkioStats
	return container.BlkioStats{IoServiceBytesRecursive: conv(b.IoServiceBytesRecursive), IoServicedRecursive: conv(b.IoServicedRecursive)}
}

// networkStats reads the interfaces of the container's namespace through its init.
func networkStats(pid int) map[string]container.NetworkStats {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil // it ended meanwhile
	}
	out := map[string]container.NetworkStats{}
	for line := range strings.Lines(string(data)) {
		name, counters, ok := strings.Cut(line, ":")
		f := strings.Fields(counters)
		name = strings.TrimSpace(name)
		if !ok || len(f) < 16 || name == "lo" {
			continue
		}
		n := make([]uint64, 16)
		for i := range n {
			n[i], _ = strconv.ParseUint(f[i], 10, 64) // the kernel writes numbers
		}
		out[name] = container.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return out
}

// userHZ is the unit of /proc/stat, 100 on every architecture that Go runs on.
const userHZ = 100

// systemCPU gives the time that all CPUs have spent, in nanoseconds (proc(5), /proc/stat).
func systemCPU() (uint64, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read system CPU time: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("read system CPU time: unexpected line %q", line)
	}
	var sum uint64
	for _, v := range f[1:8] {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read system CPU time: %w", err)
		}
		sum += n
	}
	return sum * (1e9 / userHZ), nil
}

// hostMemory gives the machine's memory in bytes, 0 if unknown.
func hostMemory() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, _ := strconv.ParseUint(strings.Fields(v)[0], 10, 64) // the kernel writes a number
			return kb << 10
		}
	}
	return 0
}
