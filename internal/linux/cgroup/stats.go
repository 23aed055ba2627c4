package cgroup

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// Stats are a group's statistics: times in nanoseconds, sizes in bytes. The names
// in JSON are those that callers of runtimes know.
type Stats struct {
	CpuStats     CPUStats
	MemoryStats  MemoryStats
	PidsStats    PidsStats
	BlkioStats   BlkioStats
	HugetlbStats map[string]HugetlbStats // by size of page ("2MB")
}

// CPUStats is how much CPU was used, and how much was denied.
type CPUStats struct {
	CpuUsage       CPUUsage
	ThrottlingData ThrottlingData
	PSI            *PSIStats
}

// CPUUsage is CPU time.
type CPUUsage struct {
	TotalUsage, UsageInKernelmode, UsageInUsermode              uint64
	PercpuUsage, PercpuUsageInKernelmode, PercpuUsageInUsermode []uint64 // of v1
}

// ThrottlingData tells how often and for how long the quota of CPU was used up.
type ThrottlingData struct{ Periods, ThrottledPeriods, ThrottledTime uint64 }

// MemoryStats is how much memory is used. SwapUsage is of memory and swap
// together, as v1 counts.
type MemoryStats struct {
	Cache                                         uint64
	Usage, SwapUsage, KernelUsage, KernelTCPUsage MemoryData
	Stats                                         map[string]uint64 // memory.stat
	PSI                                           *PSIStats
}

// MemoryData is the use of one kind of memory.
type MemoryData struct{ Usage, MaxUsage, Failcnt, Limit uint64 }

// PidsStats counts processes; Limit 0: none.
type PidsStats struct{ Current, Limit uint64 }

// HugetlbStats is the use of huge pages of one size.
type HugetlbStats struct{ Usage, MaxUsage, Failcnt uint64 }

// BlkioStats is input and output by device.
type BlkioStats struct {
	IoServiceBytesRecursive, IoServicedRecursive, IoQueuedRecursive, IoServiceTimeRecursive []BlkioStatEntry
	IoWaitTimeRecursive, IoMergedRecursive, IoTimeRecursive, SectorsRecursive               []BlkioStatEntry
	PSI                                                                                     *PSIStats
}

// BlkioStatEntry is a figure of one device and operation.
type BlkioStatEntry struct {
	Major uint64 `json:"major,omitzero"`
	Minor uint64 `json:"minor,omitzero"`
	Op    string `json:"op,omitzero"`
	Value uint64 `json:"value,omitzero"`
}

// PSIStats is for how long some, and all, processes had to wait.
type PSIStats struct {
	Some PSIData `json:"some,omitzero"`
	Full PSIData `json:"full,omitzero"`
}

// PSIData has shares of the last seconds, and a sum in microseconds.
type PSIData struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// Stats reads the statistics of all controllers once. What a kernel does not
// count is zero.
func (g Group) Stats() (*Stats, error) {
	m := &Meter{buf: make([]byte, 16<<10)}
	sources := append(m.v1(), m.moreV1()...)
	if g.V2() {
		sources = append(m.v2(), m.moreV2()...)
	}
	if err := m.open(g, append(sources, g.hugepageSources()...)); err != nil {
		return nil, err
	}
	defer m.Close()
	if len(m.files) == 0 {
		return nil, errs.New(errs.NotFound, "read statistics of cgroup: there is no such group")
	}
	st, err := m.Read()
	if err != nil {
		return nil, err
	}
	if g.V2() {
		// v1 counts memory and swap together, and so do those who ask.
		swap := &st.MemoryStats.SwapUsage
		if swap.Limit != math.MaxUint64 && swap.Limit+st.MemoryStats.Usage.Limit >= swap.Limit {
			swap.Limit += st.MemoryStats.Usage.Limit
		}
		swap.Usage += st.MemoryStats.Usage.Usage
		st.MemoryStats.Cache = st.MemoryStats.Stats["file"]
	} else {
		st.MemoryStats.Cache = st.MemoryStats.Stats["cache"]
	}
	return st, nil
}

// one makes a parser of a file with one number.
func one(field func(*Stats) *uint64) func([]byte, *Stats) {
	return func(b []byte, st *Stats) { *field(st) = number(b) }
}

// moreV1 is what v1 tells besides what Docker shows.
func (m *Meter) moreV1() []source {
	all := []source{{"cpuacct", "cpuacct.usage_all", usageAll}}
	for name, field := range map[string]func(*Stats) *MemoryData{
		"memory.memsw.":    func(st *Stats) *MemoryData { return &st.MemoryStats.SwapUsage },
		"memory.kmem.":     func(st *Stats) *MemoryData { return &st.MemoryStats.KernelUsage },
		"memory.kmem.tcp.": func(st *Stats) *MemoryData { return &st.MemoryStats.KernelTCPUsage },
	} {
		all = append(all,
			source{"memory", name + "usage_in_bytes", one(func(st *Stats) *uint64 { return &field(st).Usage })},
			source{"memory", name + "max_usage_in_bytes", one(func(st *Stats) *uint64 { return &field(st).MaxUsage })},
			source{"memory", name + "failcnt", one(func(st *Stats) *uint64 { return &field(st).Failcnt })},
			source{"memory", name + "limit_in_bytes", one(func(st *Stats) *uint64 { return &field(st).Limit })},
		)
	}
	// The first scheduler that has counted something is the one in use.
	for _, prefix := range []string{"blkio.bfq.", "blkio."} {
		for name, field := range blkioLists {
			all = append(all, source{"blkio", prefix + name + "_recursive", blkioList(field)})
		}
	}
	return append(all,
		source{"blkio", "blkio.throttle.io_service_bytes", ioBytes}, source{"blkio", "blkio.throttle.io_serviced", ioCount})
}

// blkioLists are the counters of schedulers besides those of Meter.
var blkioLists = map[string]func(*BlkioStats) *[]BlkioStatEntry{
	"io_queued":        func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoQueuedRecursive },
	"io_service_time":  func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoServiceTimeRecursive },
	"io_wait_time":     func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoWaitTimeRecursive },
	"io_merged":        func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoMergedRecursive },
	"time":             func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoTimeRecursive },
	"sectors":          func(b *BlkioStats) *[]BlkioStatEntry { return &b.SectorsRecursive },
	"io_service_bytes": func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoServiceBytesRecursive },
	"io_serviced":      func(b *BlkioStats) *[]BlkioStatEntry { return &b.IoServicedRecursive },
}

func blkioList(field func(*BlkioStats) *[]BlkioStatEntry) func([]byte, *Stats) {
	return func(b []byte, st *Stats) {
		if list := field(&st.BlkioStats); *list == nil {
			*list = ioEntries(b)
		}
	}
}

// usageAll reads lines of "cpu user system" below a heading.
func usageAll(text []byte, st *Stats) {
	usage := &st.CpuStats.CpuUsage
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < 3 || string(f[0]) == "cpu" {
			continue
		}
		usage.PercpuUsageInUsermode = append(usage.PercpuUsageInUsermode, number(f[1]))
		usage.PercpuUsageInKernelmode = append(usage.PercpuUsageInKernelmode, number(f[2]))
	}
}

// moreV2 is what v2 tells besides what Docker shows.
func (m *Meter) moreV2() []source {
	return []source{
		{"", "memory.swap.current", one(func(st *Stats) *uint64 { return &st.MemoryStats.SwapUsage.Usage })},
		{"", "memory.swap.max", one(func(st *Stats) *uint64 { return &st.MemoryStats.SwapUsage.Limit })},
		{"", "cpu.pressure", pressure(func(st *Stats) **PSIStats { return &st.CpuStats.PSI })},
		{"", "memory.pressure", pressure(func(st *Stats) **PSIStats { return &st.MemoryStats.PSI })},
		{"", "io.pressure", pressure(func(st *Stats) **PSIStats { return &st.BlkioStats.PSI })},
		{"", "cgroup.procs", func(b []byte, st *Stats) {
			if st.PidsStats.Current == 0 { // without the pids controller
				st.PidsStats.Current = uint64(bytes.Count(b, []byte{'\n'}))
			}
		}},
	}
}

// pressure reads lines of "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func pressure(field func(*Stats) **PSIStats) func([]byte, *Stats) {
	return func(text []byte, st *Stats) {
		psi := &PSIStats{}
		for line := range bytes.Lines(text) {
			words := strings.Fields(string(line))
			if len(words) == 0 {
				continue
			}
			data := map[string]*PSIData{"some": &psi.Some, "full": &psi.Full}[words[0]]
			if data == nil {
				continue
			}
			for _, word := range words[1:] {
				key, value, _ := strings.Cut(word, "=")
				if avg := map[string]*float64{"avg10": &data.Avg10, "avg60": &data.Avg60, "avg300": &data.Avg300}[key]; avg != nil {
					*avg, _ = strconv.ParseFloat(value, 64) // the kernel writes numbers
				} else if key == "total" {
					data.Total = number([]byte(value))
				}
			}
		}
		*field(st) = psi
	}
}

// hugepageSources finds the sizes of huge pages by the group's files. Of pages that
// are reserved and those that are in use, the former count, if the kernel tells.
func (g Group) hugepageSources() (all []source) {
	dir, usage := g.V1["hugetlb"], ".usage_in_bytes"
	if g.V2() {
		dir, usage = g.Unified, ".current"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no such controller
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	for name := range names {
		size, first := strings.CutPrefix(name, "hugetlb.")
		size, last := strings.CutSuffix(size, usage)
		if !first || !last || strings.HasSuffix(size, ".rsvd") {
			continue
		}
		prefix := "hugetlb." + size
		if names[prefix+".rsvd"+usage] {
			prefix += ".rsvd"
		}
		all = append(all, source{"hugetlb", prefix + usage, hugepages(size, func(b []byte, h *HugetlbStats) { h.Usage = number(b) })})
		if g.V2() {
			all = append(all, source{"hugetlb", "hugetlb." + size + ".events", hugepages(size, func(b []byte, h *HugetlbStats) {
				value, _ := keyed(string(b), "max")
				h.Failcnt = number([]byte(value))
			})})
			continue
		}
		all = append(all,
			source{"hugetlb", prefix + ".max_usage_in_bytes", hugepages(size, func(b []byte, h *HugetlbStats) { h.MaxUsage = number(b) })},
			source{"hugetlb", prefix + ".failcnt", hugepages(size, func(b []byte, h *HugetlbStats) { h.Failcnt = number(b) })})
	}
	return all
}

func hugepages(size string, set func([]byte, *HugetlbStats)) func([]byte, *Stats) {
	return func(b []byte, st *Stats) {
		h := st.HugetlbStats[size]
		set(b, &h)
		st.HugetlbStats[size] = h
	}
}
