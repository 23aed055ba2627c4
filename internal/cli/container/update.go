package container

import (
	"errors"
	"fmt"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/create"
	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type updateOptions struct {
	blkioWeight                                    uint16
	cpuPeriod, cpuQuota, cpuRTPeriod, cpuRTRuntime int64
	cpuShares, pidsLimit                           int64
	cpusetCPUs, cpusetMems, restart, onFailure     string
	memory, reservation, kernelMemory              opt.Bytes
	swap                                           opt.SwapBytes
	cpus                                           opt.CPUs
}

// NewUpdate makes the command "update".
func NewUpdate(s *session.Session) *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:         "update [OPTIONS] CONTAINER [CONTAINER...]",
		Short:       "Change the limits and the restart policy of containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container update", "update"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, s, args)
		},
		ValidArgsFunction: completeNames(s, 0),
	}
	fs := cmd.Flags()
	fs.Uint16Var(&o.blkioWeight, "blkio-weight", 0, "Relative block IO weight, 10 to 1000, or 0 for none")
	fs.Int64Var(&o.cpuPeriod, "cpu-period", 0, "CFS period in microseconds")
	fs.Int64Var(&o.cpuQuota, "cpu-quota", 0, "CFS quota in microseconds per period")
	fs.Int64Var(&o.cpuRTPeriod, "cpu-rt-period", 0, "Real-time period in microseconds")
	fs.Int64Var(&o.cpuRTRuntime, "cpu-rt-runtime", 0, "Real-time runtime in microseconds")
	fs.Int64VarP(&o.cpuShares, "cpu-shares", "c", 0, "Relative CPU weight")
	fs.Var(&o.cpus, "cpus", "Number of CPUs")
	fs.StringVar(&o.cpusetCPUs, "cpuset-cpus", "", "CPUs the container may run on (0-3, 0,1)")
	fs.StringVar(&o.cpusetMems, "cpuset-mems", "", "Memory nodes the container may use (0-3, 0,1)")
	fs.VarP(&o.memory, "memory", "m", "Memory limit")
	fs.Var(&o.reservation, "memory-reservation", "Soft memory limit")
	fs.Var(&o.swap, "memory-swap", "Limit of memory plus swap, -1 for unlimited swap")
	fs.Var(&o.kernelMemory, "kernel-memory", "Kernel memory limit (deprecated, has no effect)")
	fs.Lookup("kernel-memory").Hidden = true
	fs.StringVar(&o.restart, "restart", "", "When to restart the container after it exits")
	fs.StringVar(&o.onFailure, "health-on-failure", "", "What to do with an unhealthy container (none|kill|restart|stop)")
	fs.Int64Var(&o.pidsLimit, "pids-limit", 0, "Limit of processes, -1 for none")
	return cmd
}

func (o *updateOptions) run(cmd *cobra.Command, s *session.Session, names []string) error {
	if cmd.Flags().NFlag() == 0 {
		return errors.New("you must provide one or more flags when using this command")
	}
	policy, err := create.ParseRestart(o.restart)
	if err != nil {
		return err
	}
	res := containertypes.Resources{
		BlkioWeight: o.blkioWeight, CpusetCpus: o.cpusetCPUs, CpusetMems: o.cpusetMems, CPUShares: o.cpuShares,
		Memory: int64(o.memory), MemoryReservation: int64(o.reservation), MemorySwap: int64(o.swap),
		CPUPeriod: o.cpuPeriod, CPUQuota: o.cpuQuota, CPURealtimePeriod: o.cpuRTPeriod,
		CPURealtimeRuntime: o.cpuRTRuntime, NanoCPUs: int64(o.cpus),
	}
	if o.pidsLimit != 0 {
		res.PidsLimit = &o.pidsLimit
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		out, err := c.ContainerUpdate(cmd.Context(), name, client.ContainerUpdateOptions{
			Resources: res, RestartPolicy: policy, Annotations: create.OnFailure(nil, o.onFailure),
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(s.Out, name)
		for _, w := range out.Warnings {
			fmt.Fprintln(s.Out, w)
		}
	}
	return session.Join(errs)
}
