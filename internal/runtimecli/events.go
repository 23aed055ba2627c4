package runtimecli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/oci"
)

// event is one line of the events command.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func setupEvents(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	interval := f.Duration("interval", 5*time.Second, "set the stats collection interval")
	once := f.Bool("stats", false, "display the container's stats then exit")
	return func(ctx context.Context, args []string) (int, error) {
		if *interval <= 0 {
			return 1, errs.New(errs.InvalidArgument, "duration interval must be greater than 0")
		}
		c, err := a.runtime.Load(args[0])
		if err != nil {
			return 1, err
		}
		return 0, a.events(ctx, c, *interval, *once)
	}
}

// events prints statistics at an interval, and a line whenever the kernel has
// killed a process for want of memory, until the container stops.
func (a *app) events(ctx context.Context, c *oci.Container, interval time.Duration, once bool) error {
	enc := json.NewEncoder(a.stdout)
	kills, err := c.OOMKills()
	if err != nil {
		return err
	}
	for {
		status, err := c.Status()
		if err != nil {
			return err
		}
		if status == specs.StateStopped {
			if once {
				return errs.New(errs.Conflict, "container with id %s is not running", c.ID())
			}
			return nil
		}
		stats, err := c.Stats()
		if err != nil {
			return err
		}
		if err := enc.Encode(event{"stats", c.ID(), convertStats(stats)}); err != nil || once {
			return err
		}
		if now, err := c.OOMKills(); err == nil && now > kills {
			kills = now
			if err := enc.Encode(event{Type: "oom", ID: c.ID()}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}

// convertStats arranges statistics as runc prints them.
func convertStats(s *cgroup.Stats) any {
	type object = map[string]any
	memory := func(m cgroup.MemoryData) object {
		return object{"limit": m.Limit, "usage": m.Usage, "max": m.MaxUsage, "failcnt": m.Failcnt}
	}
	hugetlb := object{}
	for name, h := range s.HugetlbStats {
		hugetlb[name] = object{"usage": h.Usage, "max": h.MaxUsage, "failcnt": h.Failcnt}
	}
	return object{
		"cpu": object{
			"usage": object{
				"total": s.CpuStats.CpuUsage.TotalUsage, "percpu": s.CpuStats.CpuUsage.PercpuUsage,
				"percpu_kernel": s.CpuStats.CpuUsage.PercpuUsageInKernelmode, "percpu_user": s.CpuStats.CpuUsage.PercpuUsageInUsermode,
				"kernel": s.CpuStats.CpuUsage.UsageInKernelmode, "user": s.CpuStats.CpuUsage.UsageInUsermode,
			},
			"throttling": object{
				"periods": s.CpuStats.ThrottlingData.Periods, "throttledPeriods": s.CpuStats.ThrottlingData.ThrottledPeriods,
				"throttledTime": s.CpuStats.ThrottlingData.ThrottledTime,
			},
			"psi": s.CpuStats.PSI,
		},
		"memory": object{
			"cache": s.MemoryStats.Cache, "usage": memory(s.MemoryStats.Usage), "swap": memory(s.MemoryStats.SwapUsage),
			"kernel": memory(s.MemoryStats.KernelUsage), "kernelTCP": memory(s.MemoryStats.KernelTCPUsage),
			"raw": s.MemoryStats.Stats, "psi": s.MemoryStats.PSI,
		},
		"pids":      object{"current": s.PidsStats.Current, "limit": s.PidsStats.Limit},
		"blkio":     convertBlkio(s.BlkioStats),
		"hugetlb":   hugetlb,
		"intel_rdt": object{}, "network_interfaces": nil,
	}
}

func convertBlkio(s cgroup.BlkioStats) any {
	out := map[string]any{}
	for name, entries := range map[string][]cgroup.BlkioStatEntry{
		"ioServiceBytesRecursive": s.IoServiceBytesRecursive, "ioServicedRecursive": s.IoServicedRecursive,
		"ioQueueRecursive": s.IoQueuedRecursive, "ioServiceTimeRecursive": s.IoServiceTimeRecursive,
		"ioWaitTimeRecursive": s.IoWaitTimeRecursive, "ioMergedRecursive": s.IoMergedRecursive,
		"ioTimeRecursive": s.IoTimeRecursive, "sectorsRecursive": s.SectorsRecursive,
	} {
		if len(entries) > 0 {
			out[name] = entries
		}
	}
	if s.PSI != nil {
		out["psi"] = s.PSI
	}
	return out
}

// psTable prints what ps(1) says about the container's processes.
func psTable(ctx context.Context, w io.Writer, pids []int, args []string) error {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.CommandContext(ctx, "ps", args...).Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return fmt.Errorf("ps: %w: %s", err, e.Stderr)
		}
		return fmt.Errorf("ps: %w", err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return errs.New(errs.InvalidArgument, "couldn't find PID field in ps output")
	}
	if _, err := fmt.Fprintln(w, lines[0]); err != nil {
		return err
	}
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if slices.Contains(pids, pid) {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	return nil
}
