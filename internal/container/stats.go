package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
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
	st, networks, err := s.measure(ctx, c, &r)
	if err != nil {
		if errs.Is(err, errs.Conflict) || errs.Is(err, errs.NotFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrClosed) {
			return resp, nil // it ended meanwhile
		}
		return resp, err
	}
	resp.Read = time.Now().UTC()
	system, err := hostCPU.usage(resp.Read)
	if err != nil {
		return resp, err
	}
	resp.CPUStats = cpuStats(st, system)
	resp.MemoryStats = memoryStats(st)
	resp.PidsStats = container.PidsStats{Current: st.PidsStats.Current, Limit: st.PidsStats.Limit}
	resp.BlkioStats = blkioStats(st)
	resp.Networks = networks
	c.mu.Lock()
	resp.PreRead, resp.PreCPUStats = c.stats.read, c.stats.cpu
	c.stats = statSample{resp.Read, resp.CPUStats}
	c.mu.Unlock()
	return resp, nil
}

func cpuStats(st *cgroup.Stats, system uint64) container.CPUStats {
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

func memoryStats(st *cgroup.Stats) container.MemoryStats {
	m := st.MemoryStats
	out := container.MemoryStats{Usage: m.Usage.Usage, MaxUsage: m.Usage.MaxUsage, Stats: m.Stats, Failcnt: m.Usage.Failcnt, Limit: m.Usage.Limit}
	if total := hostMemory(); out.Limit == 0 || total > 0 && out.Limit > total {
		out.Limit = total // no limit: all there is
	}
	return out
}

func blkioStats(st *cgroup.Stats) container.BlkioStats {
	conv := func(in []cgroup.BlkioStatEntry) []container.BlkioStatEntry {
		out := make([]container.BlkioStatEntry, len(in))
		for i, e := range in {
			out[i] = container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value}
		}
		return out
	}
	b := st.BlkioStats
	return container.BlkioStats{IoServiceBytesRecursive: conv(b.IoServiceBytesRecursive), IoServicedRecursive: conv(b.IoServicedRecursive)}
}

// networkStats reads /proc/<pid>/net/dev: the interfaces of a network namespace.
func networkStats(data []byte) map[string]container.NetworkStats {
	out := map[string]container.NetworkStats{}
	for line := range bytes.Lines(data) {
		name, counters, ok := bytes.Cut(line, []byte{':'})
		name = bytes.TrimSpace(name)
		if !ok || string(name) == "lo" {
			continue
		}
		var n [16]uint64
		i := 0
		for word := range bytes.FieldsSeq(counters) {
			if i < len(n) {
				n[i], _ = strconv.ParseUint(string(word), 10, 64) // the kernel writes numbers
			}
			i++
		}
		out[string(name)] = container.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return out
}

// userHZ is the unit of /proc/stat, 100 on every architecture that Go runs on.
const userHZ = 100

// sharedSample is for how long a sample of the machine serves several containers.
// Their CPU use is a share of it, over a second: half a percent of error at most.
const sharedSample = 5 * time.Millisecond

// machineCPU is the time that all CPUs have spent. Its file is long and costs more
// to make than all of a container's.
type machineCPU struct {
	mu   sync.Mutex
	read time.Time
	used uint64
}

var hostCPU machineCPU

// usage gives the time in nanoseconds.
func (m *machineCPU) usage(now time.Time) (_ uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age := now.Sub(m.read); age >= 0 && age < sharedSample {
		return m.used, nil
	}
	m.used, err = systemCPU()
	m.read = now
	return m.used, err
}

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
var hostMemory = sync.OnceValue(func() uint64 {
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
})
