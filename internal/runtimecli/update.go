package runtimecli

import (
	"context"
	"flag"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/oci/specjson"
)

// number sets *to when the flag is given, so that 0 differs from "not given".
func number[T int64 | uint64 | uint16](to **T) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return err
		}
		v := T(n)
		if int64(v) != n {
			return strconv.ErrRange
		}
		*to = &v
		return nil
	}
}

// size is number for bytes; -1 is unlimited.
func size(to **int64) func(string) error {
	return func(s string) error {
		n, err := parseBytes(s)
		*to = &n
		return err
	}
}

// parseBytes reads a number of bytes with a suffix of k, m, g or t, in powers of 1024.
func parseBytes(s string) (int64, error) {
	shift := 0
	if s != "" {
		for i, suffix := range []byte("kmgt") {
			if s[len(s)-1]|0x20 == suffix {
				shift, s = 10*(i+1), s[:len(s)-1]
				break
			}
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if n<<shift>>shift != n {
		return 0, strconv.ErrRange
	}
	return n << shift, nil
}

func setupUpdate(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	r := specs.LinuxResources{
		Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{},
	}
	var file string
	f.StringVar(&file, "resources", "", "path to the file containing the resources to update; - for standard input")
	f.StringVar(&file, "r", "", "short for --resources")
	f.Func("blkio-weight", "per cgroup block I/O weight, between 10 and 1000", number(&r.BlockIO.Weight))
	f.Func("cpu-period", "CPU CFS period to be used for hardcapping (in usecs)", number(&r.CPU.Period))
	f.Func("cpu-quota", "CPU CFS hardcap limit (in usecs)", number(&r.CPU.Quota))
	f.Func("cpu-burst", "CPU CFS hardcap burst limit (in usecs)", number(&r.CPU.Burst))
	f.Func("cpu-share", "CPU shares (relative weight)", number(&r.CPU.Shares))
	f.Func("cpu-rt-period", "CPU realtime period (in usecs)", number(&r.CPU.RealtimePeriod))
	f.Func("cpu-rt-runtime", "CPU realtime hardcap limit (in usecs)", number(&r.CPU.RealtimeRuntime))
	f.Func("cpu-idle", "set cgroup SCHED_IDLE or not, 0: default, 1: SCHED_IDLE", number(&r.CPU.Idle))
	f.StringVar(&r.CPU.Cpus, "cpuset-cpus", "", "CPU(s) to use")
	f.StringVar(&r.CPU.Mems, "cpuset-mems", "", "memory node(s) to use")
	f.Func("memory", "memory limit (in bytes)", size(&r.Memory.Limit))
	f.Func("memory-reservation", "memory reservation or soft limit (in bytes)", size(&r.Memory.Reservation))
	f.Func("memory-swap", "memory and swap limit (in bytes); -1: unlimited swap", size(&r.Memory.Swap))
	f.Func("pids-limit", "maximum number of pids allowed in the container", number(&r.Pids.Limit))
	var rdt specs.LinuxIntelRdt
	f.StringVar(&rdt.L3CacheSchema, "l3-cache-schema", "", "Intel RDT/CAT L3 cache schema")
	f.StringVar(&rdt.MemBwSchema, "mem-bw-schema", "", "Intel RDT/MBA memory bandwidth schema")
	return func(ctx context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err != nil {
			return 1, err
		}
		if rdt.L3CacheSchema+rdt.MemBwSchema != "" {
			if err := c.UpdateRdt(&rdt); err != nil {
				return 1, err
			}
		}
		resources := &r
		if file != "" {
			if resources, err = a.readResources(file); err != nil {
				return 1, err
			}
		}
		return 0, c.Update(ctx, resources)
	}
}

func (a *app) readResources(file string) (*specs.LinuxResources, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(a.stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	return specjson.DecodeResources(data)
}
