package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestMeterFiles reads directories that look like cgroups of both kinds.
func TestMeterFiles(t *testing.T) {
	entries := func(read, write uint64) []BlkioStatEntry {
		return []BlkioStatEntry{{Major: 8, Minor: 16, Op: "Read", Value: read}, {Major: 8, Minor: 16, Op: "Write", Value: write}}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		v1    bool
	}{
		{"v1", map[string]string{
			"cpuacct.usage": "5000\n", "cpuacct.usage_percpu": "2000 3000 \n", "cpuacct.stat": "user 3\nsystem 4\n",
			"cpu.stat":    "nr_periods 1\nnr_throttled 2\nthrottled_time 3000\nwait_sum 9\n",
			"memory.stat": "cache 7\nrss 8\n", "memory.usage_in_bytes": "100\n", "memory.max_usage_in_bytes": "200\n",
			"memory.failcnt": "6\n", "memory.limit_in_bytes": "9223372036854771712\n", "pids.current": "5\n", "pids.max": "max\n",
			"blkio.bfq.io_service_bytes_recursive":      "Total 0\n", // another scheduler's figures count
			"blkio.throttle.io_service_bytes_recursive": "8:16 Read 10\n8:16 Write 20\nTotal 30\n",
			"blkio.throttle.io_serviced_recursive":      "8:16 Read 1\n8:16 Write 2\nTotal 3\n",
		}, true},
		{"v2", map[string]string{
			"cpu.stat":    "usage_usec 5\nuser_usec 30000\nsystem_usec 40000\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\n",
			"memory.stat": "cache 7\nrss 8\n", "memory.current": "100\n", "memory.peak": "200\n", "memory.max": "9223372036854771712\n",
			"pids.current": "5\n", "pids.max": "max\n", "io.stat": "8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
		}, false},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g := Group{Unified: dir}
		if c.v1 {
			g = Group{V1: map[string]string{"cpu": dir, "cpuacct": dir, "memory": dir, "pids": dir, "blkio": dir}}
		}
		m, err := g.NewMeter()
		if err != nil {
			t.Fatal(err)
		}
		st, err := m.Read()
		if err == nil {
			st, err = m.Read() // what is kept from the first does not change the second
		}
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := &Stats{HugetlbStats: map[string]HugetlbStats{}}
		want.CpuStats.CpuUsage = CPUUsage{TotalUsage: 5000, UsageInUsermode: 30e6, UsageInKernelmode: 40e6}
		want.CpuStats.ThrottlingData = ThrottlingData{Periods: 1, ThrottledPeriods: 2, ThrottledTime: 3000}
		want.MemoryStats.Stats = map[string]uint64{"cache": 7, "rss": 8}
		want.MemoryStats.Usage = MemoryData{Usage: 100, MaxUsage: 200, Limit: 9223372036854771712}
		want.PidsStats = PidsStats{Current: 5}
		want.BlkioStats = BlkioStats{IoServiceBytesRecursive: entries(10, 20), IoServicedRecursive: entries(1, 2)}
		if c.v1 {
			want.CpuStats.CpuUsage.PercpuUsage = []uint64{2000, 3000}
			want.MemoryStats.Usage.Failcnt = 6
		}
		if !reflect.DeepEqual(st, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, st, want)
		}
	}
	if got := number([]byte("max\n")); got != math.MaxUint64 {
		t.Errorf("max is %d", got)
	}
}
