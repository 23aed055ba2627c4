package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// userTick is the unit of cpuacct.stat in nanoseconds: USER_HZ is 100.
const userTick = 1e9 / 100

// maxStatistics is more than any of the files has.
const maxStatistics = 4 << 20

// Meter reads the statistics of one group again and again: those that Docker
// shows, from files that it keeps open. It is used by one goroutine at a time.
type Meter struct {
	files  []meterFile
	buf    []byte
	memory []string // the keys of memory.stat as they were read last
}

type meterFile struct {
	fd    int
	parse func(text []byte, to *Stats)
}

// NewMeter opens the group's files. What a kernel does not have is left out.
func (g Group) NewMeter() (*Meter, error) {
	m := &Meter{buf: make([]byte, 16<<10)}
	sources := m.v1()
	if g.V2() {
		sources = m.v2()
	}
	return m, m.open(g, sources)
}

// open opens what there is of the sources, or nothing after an error.
func (m *Meter) open(g Group, sources []source) error {
	for _, f := range sources {
		dir := g.Unified
		if !g.V2() {
			dir = g.V1[f.controller]
		}
		if dir == "" {
			continue
		}
		h, err := unix.Open(filepath.Join(dir, f.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			m.Close()
			return fmt.Errorf("open statistics of cgroup: %w", err)
		}
		m.files = append(m.files, meterFile{h, f.parse})
	}
	return nil
}

// Read takes a sample. A group that has been removed gives ENODEV.
func (m *Meter) Read() (*Stats, error) {
	st := &Stats{HugetlbStats: map[string]HugetlbStats{}}
	for _, f := range m.files {
		n, err := unix.Pread(f.fd, m.buf, 0)
		for err == nil && n == len(m.buf) && n < maxStatistics {
			m.buf = make([]byte, 2*n) // one line per CPU
			n, err = unix.Pread(f.fd, m.buf, 0)
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue // a controller that is off
		}
		if err != nil {
			return nil, fmt.Errorf("read statistics of cgroup: %w", err)
		}
		if n == len(m.buf) {
			return nil, fmt.Errorf("read statistics of cgroup: more than %d bytes", n)
		}
		f.parse(m.buf[:n], st)
	}
	return st, nil
}

// Close closes the files.
func (m *Meter) Close() {
	for _, f := range m.files {
		_ = unix.Close(f.fd) // read only
	}
	m.files = nil
}

// source is a file to read, of a controller in v1.
type source struct {
	controller, name string
	parse            func(text []byte, to *Stats)
}

func (m *Meter) v1() []source {
	return []source{
		{"cpuacct", "cpuacct.usage", func(b []byte, st *Stats) { st.CpuStats.CpuUsage.TotalUsage = number(b) }},
		{"cpuacct", "cpuacct.usage_percpu", func(b []byte, st *Stats) {
			for word := range bytes.FieldsSeq(b) {
				st.CpuStats.CpuUsage.PercpuUsage = append(st.CpuStats.CpuUsage.PercpuUsage, number(word))
			}
		}},
		{"cpuacct", "cpuacct.stat", pairs(map[string]func(*Stats, uint64){
			"user":   func(st *Stats, v uint64) { st.CpuStats.CpuUsage.UsageInUsermode = v * userTick },
			"system": func(st *Stats, v uint64) { st.CpuStats.CpuUsage.UsageInKernelmode = v * userTick },
		})},
		{"cpu", "cpu.stat", pairs(map[string]func(*Stats, uint64){
			"nr_periods":     func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.Periods = v },
			"nr_throttled":   func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.ThrottledPeriods = v },
			"throttled_time": func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.ThrottledTime = v },
		})},
		{"memory", "memory.stat", m.memoryStat},
		{"memory", "memory.usage_in_bytes", func(b []byte, st *Stats) { st.MemoryStats.Usage.Usage = number(b) }},
		{"memory", "memory.max_usage_in_bytes", func(b []byte, st *Stats) { st.MemoryStats.Usage.MaxUsage = number(b) }},
		{"memory", "memory.failcnt", func(b []byte, st *Stats) { st.MemoryStats.Usage.Failcnt = number(b) }},
		{"memory", "memory.limit_in_bytes", func(b []byte, st *Stats) { st.MemoryStats.Usage.Limit = number(b) }},
		{"pids", "pids.current", pidsCurrent},
		{"pids", "pids.max", pidsMax},
		{"blkio", "blkio.bfq.io_service_bytes_recursive", ioBytes},
		{"blkio", "blkio.bfq.io_serviced_recursive", ioCount},
		{"blkio", "blkio.throttle.io_service_bytes_recursive", ioBytes},
		{"blkio", "blkio.throttle.io_serviced_recursive", ioCount},
	}
}

func (m *Meter) v2() []source {
	return []source{
		{"", "cpu.stat", pairs(map[string]func(*Stats, uint64){
			"usage_usec":     func(st *Stats, v uint64) { st.CpuStats.CpuUsage.TotalUsage = v * 1000 },
			"user_usec":      func(st *Stats, v uint64) { st.CpuStats.CpuUsage.UsageInUsermode = v * 1000 },
			"system_usec":    func(st *Stats, v uint64) { st.CpuStats.CpuUsage.UsageInKernelmode = v * 1000 },
			"nr_periods":     func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.Periods = v },
			"nr_throttled":   func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.ThrottledPeriods = v },
			"throttled_usec": func(st *Stats, v uint64) { st.CpuStats.ThrottlingData.ThrottledTime = v * 1000 },
		})},
		{"", "memory.stat", m.memoryStat},
		{"", "memory.current", func(b []byte, st *Stats) { st.MemoryStats.Usage.Usage = number(b) }},
		{"", "memory.peak", func(b []byte, st *Stats) { st.MemoryStats.Usage.MaxUsage = number(b) }},
		{"", "memory.max", func(b []byte, st *Stats) { st.MemoryStats.Usage.Limit = number(b) }},
		{"", "pids.current", pidsCurrent},
		{"", "pids.max", pidsMax},
		{"", "io.stat", ioStat},
	}
}

// number reads a decimal number; "max" is the greatest.
func number(b []byte) uint64 {
	b = bytes.TrimSpace(b)
	if string(b) == "max" {
		return math.MaxUint64
	}
	n, _ := strconv.ParseUint(string(b), 10, 64) // the kernel writes numbers
	return n
}

// eachPair calls f for lines of a key and a number.
func eachPair(text []byte, f func(i int, key []byte, value uint64)) {
	for i := 0; len(text) > 0; i++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		key, value, _ := bytes.Cut(line, []byte{' '})
		f(i, key, number(value))
	}
}

func pairs(set map[string]func(*Stats, uint64)) func([]byte, *Stats) {
	return func(text []byte, st *Stats) {
		eachPair(text, func(_ int, key []byte, value uint64) {
			if f := set[string(key)]; f != nil {
				f(st, value)
			}
		})
	}
}

func (m *Meter) memoryStat(text []byte, st *Stats) {
	st.MemoryStats.Stats = make(map[string]uint64, len(m.memory))
	eachPair(text, func(i int, key []byte, value uint64) {
		if i == len(m.memory) || m.memory[i] != string(key) {
			m.memory = append(m.memory[:i], string(key)) // a string is made once only
		}
		st.MemoryStats.Stats[m.memory[i]] = value
	})
}

func pidsCurrent(b []byte, st *Stats) { st.PidsStats.Current = number(b) }

func pidsMax(b []byte, st *Stats) {
	if st.PidsStats.Limit = number(b); st.PidsStats.Limit == math.MaxUint64 {
		st.PidsStats.Limit = 0 // no limit
	}
}

// ioBytes and ioCount take the first scheduler's figures that there are.
func ioBytes(b []byte, st *Stats) {
	if st.BlkioStats.IoServiceBytesRecursive == nil {
		st.BlkioStats.IoServiceBytesRecursive = ioEntries(b)
	}
}

func ioCount(b []byte, st *Stats) {
	if st.BlkioStats.IoServicedRecursive == nil {
		st.BlkioStats.IoServicedRecursive = ioEntries(b)
	}
}

// ioEntries reads lines of "major:minor operation number", where what is one for
// all has no operation; a last line has a sum.
func ioEntries(text []byte) (all []BlkioStatEntry) {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		major, minor, ok := device(f)
		switch {
		case ok && len(f) == 3:
			all = append(all, BlkioStatEntry{Major: major, Minor: minor, Op: string(f[1]), Value: number(f[2])})
		case ok && len(f) == 2:
			all = append(all, BlkioStatEntry{Major: major, Minor: minor, Value: number(f[1])})
		}
	}
	return all
}

func device(fields [][]byte) (major, minor uint64, ok bool) {
	if len(fields) == 0 {
		return 0, 0, false
	}
	a, b, ok := bytes.Cut(fields[0], []byte{':'})
	return number(a), number(b), ok
}

// ioStat reads lines of "major:minor rbytes=… wbytes=… rios=… wios=… …".
func ioStat(text []byte, st *Stats) {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		major, minor, ok := device(f)
		if !ok {
			continue
		}
		for _, word := range f[1:] {
			key, value, _ := bytes.Cut(word, []byte{'='})
			e := BlkioStatEntry{Major: major, Minor: minor, Op: "Read", Value: number(value)}
			if key[0] == 'w' {
				e.Op = "Write"
			}
			switch string(key) {
			case "rbytes", "wbytes":
				st.BlkioStats.IoServiceBytesRecursive = append(st.BlkioStats.IoServiceBytesRecursive, e)
			case "rios", "wios":
				st.BlkioStats.IoServicedRecursive = append(st.BlkioStats.IoServicedRecursive, e)
			}
		}
	}
}
