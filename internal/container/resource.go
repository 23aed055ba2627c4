package container

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

// minMemory is the smallest memory limit Docker accepts, in bytes.
const minMemory = 6 << 20

// discardUnsupported takes out of r what the machine does not have and gives a
// warning for each.
func discardUnsupported(r *container.Resources, m machine) (warnings []string) {
	warn := func(text string) { warnings = append(warnings, text) }
	if r.MemorySwappiness != nil && *r.MemorySwappiness == -1 {
		r.MemorySwappiness = nil // the way of older clients to say: as it is
	}
	if r.MemorySwappiness != nil && !m.swappiness {
		warn("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.")
		r.MemorySwappiness = nil
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		switch {
		case !m.oomControl:
			warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
			r.OomKillDisable = nil
		case r.Memory == 0:
			warn("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
		}
	}
	if r.CPUPercent > 0 {
		warn("linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	if r.BlkioWeight > 0 && !m.blkioWeight {
		warn("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
		r.BlkioWeight = 0
	}
	if len(r.BlkioWeightDevice) > 0 && !m.blkioWeight {
		warn("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.")
		r.BlkioWeightDevice = []*blkiodev.WeightDevice{}
	}
	return warnings
}

// checkResources refuses limits that contradict each other or the machine.
// update is for a container that exists.
func checkResources(r *container.Resources, m machine, update bool) error {
	for _, check := range []func(*container.Resources, machine, bool) error{checkMemory, checkCPU, checkCPUSets, checkBlockIO} {
		if err := check(r, m, update); err != nil {
			return err
		}
	}
	return nil
}

func checkMemory(r *container.Resources, _ machine, update bool) error {
	switch {
	case r.Memory != 0 && r.Memory < minMemory:
		return errs.New(errs.InvalidArgument, "Minimum memory limit allowed is 6MB")
	case r.MemorySwap > 0 && r.Memory == 0 && !update:
		return errs.New(errs.InvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return errs.New(errs.InvalidArgument, "Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < 0 || *r.MemorySwappiness > 100):
		return errs.New(errs.InvalidArgument, "Invalid value: %v, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return errs.New(errs.InvalidArgument, "Minimum memory reservation allowed is 6MB")
	case r.MemoryReservation > 0 && r.Memory > 0 && r.Memory < r.MemoryReservation:
		return errs.New(errs.InvalidArgument, "Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return nil
}

func checkCPU(r *container.Resources, m machine, _ bool) error {
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return errs.New(errs.InvalidArgument, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return errs.New(errs.InvalidArgument, "Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(m.cpus)*1e9:
		return errs.New(errs.InvalidArgument, "range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", m.cpus)
	case r.CPUShares < 0:
		return errs.New(errs.InvalidArgument, "invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return errs.New(errs.InvalidArgument, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return errs.New(errs.InvalidArgument, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return errs.New(errs.InvalidArgument, "cpu real-time runtime cannot be higher than cpu real-time period")
	}
	return nil
}

func checkCPUSets(r *container.Resources, m machine, _ bool) error {
	for _, set := range []struct{ option, what, list, have string }{
		{"cpuset cpus", "CPUs", r.CpusetCpus, m.cpuset},
		{"cpuset mems", "memory nodes", r.CpusetMems, m.mems},
	} {
		ok, err := within(set.list, set.have)
		if err != nil {
			return errs.New(errs.InvalidArgument, "Invalid value %s for %s: %w", set.list, set.option, err)
		}
		if !ok {
			return errs.New(errs.InvalidArgument, "Requested %s are not available - requested %s, available: %s", set.what, set.list, set.have)
		}
	}
	return nil
}

func checkBlockIO(r *container.Resources, _ machine, _ bool) error {
	switch {
	case r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return errs.New(errs.InvalidArgument, "Range of blkio weight is from 10 to 1000")
	case r.IOMaximumBandwidth != 0:
		return errs.New(errs.InvalidArgument, "invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case r.IOMaximumIOps != 0:
		return errs.New(errs.InvalidArgument, "invalid option: QoS maximum IOPs configuration is not supported on linux")
	}
	return nil
}
