package specjson

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func resources(r *reader, v *specs.LinuxResources) {
	r.object(func(name string) {
		switch name {
		case "devices":
			list(r, &v.Devices, deviceRule)
		case "memory":
			ptr(r, &v.Memory, memory)
		case "cpu":
			ptr(r, &v.CPU, cpu)
		case "pids":
			ptr(r, &v.Pids, pids)
		case "blockIO":
			ptr(r, &v.BlockIO, blockIO)
		case "hugepageLimits":
			list(r, &v.HugepageLimits, hugepageLimit)
		case "network":
			ptr(r, &v.Network, network)
		case "rdma":
			dict(r, &v.Rdma, rdma)
		case "unified":
			dict(r, &v.Unified, str[string])
		default:
			r.skip()
		}
	})
}

func deviceRule(r *reader, d *specs.LinuxDeviceCgroup) {
	r.object(func(name string) {
		switch name {
		case "allow":
			boolean(r, &d.Allow)
		case "type":
			str(r, &d.Type)
		case "major":
			ptr(r, &d.Major, num[int64])
		case "minor":
			ptr(r, &d.Minor, num[int64])
		case "access":
			str(r, &d.Access)
		default:
			r.skip()
		}
	})
}

func memory(r *reader, m *specs.LinuxMemory) {
	r.object(func(name string) {
		switch name {
		case "limit":
			ptr(r, &m.Limit, num[int64])
		case "reservation":
			ptr(r, &m.Reservation, num[int64])
		case "swap":
			ptr(r, &m.Swap, num[int64])
		case "kernel":
			//lint:ignore SA1019 read so that it can be refused or ignored knowingly
			ptr(r, &m.Kernel, num[int64])
		case "kernelTCP":
			ptr(r, &m.KernelTCP, num[int64])
		case "swappiness":
			ptr(r, &m.Swappiness, num[uint64])
		case "disableOOMKiller":
			ptr(r, &m.DisableOOMKiller, boolean)
		case "useHierarchy":
			ptr(r, &m.UseHierarchy, boolean)
		case "checkBeforeUpdate":
			ptr(r, &m.CheckBeforeUpdate, boolean)
		default:
			r.skip()
		}
	})
}

func cpu(r *reader, c *specs.LinuxCPU) {
	r.object(func(name string) {
		switch name {
		case "shares":
			ptr(r, &c.Shares, num[uint64])
		case "quota":
			ptr(r, &c.Quota, num[int64])
		case "burst":
			ptr(r, &c.Burst, num[uint64])
		case "period":
			ptr(r, &c.Period, num[uint64])
		case "realtimeRuntime":
			ptr(r, &c.RealtimeRuntime, num[int64])
		case "realtimePeriod":
			ptr(r, &c.RealtimePeriod, num[uint64])
		case "cpus":
			str(r, &c.Cpus)
		case "mems":
			str(r, &c.Mems)
		case "idle":
			ptr(r, &c.Idle, num[int64])
		default:
			r.skip()
		}
	})
}

func pids(r *reader, p *specs.LinuxPids) {
	r.object(func(name string) {
		if name == "limit" {
			ptr(r, &p.Limit, num[int64])
		} else {
			r.skip()
		}
	})
}

func blockIO(r *reader, b *specs.LinuxBlockIO) {
	r.object(func(name string) {
		switch name {
		case "weight":
			ptr(r, &b.Weight, num[uint16])
		case "leafWeight":
			ptr(r, &b.LeafWeight, num[uint16])
		case "weightDevice":
			list(r, &b.WeightDevice, weightDevice)
		case "throttleReadBpsDevice":
			list(r, &b.ThrottleReadBpsDevice, throttleDevice)
		case "throttleWriteBpsDevice":
			list(r, &b.ThrottleWriteBpsDevice, throttleDevice)
		case "throttleReadIOPSDevice":
			list(r, &b.ThrottleReadIOPSDevice, throttleDevice)
		case "throttleWriteIOPSDevice":
			list(r, &b.ThrottleWriteIOPSDevice, throttleDevice)
		default:
			r.skip()
		}
	})
}

func weightDevice(r *reader, d *specs.LinuxWeightDevice) {
	r.object(func(name string) {
		switch name {
		case "major":
			num(r, &d.Major)
		case "minor":
			num(r, &d.Minor)
		case "weight":
			ptr(r, &d.Weight, num[uint16])
		case "leafWeight":
			ptr(r, &d.LeafWeight, num[uint16])
		default:
			r.skip()
		}
	})
}

func throttleDevice(r *reader, d *specs.LinuxThrottleDevice) {
	r.object(func(name string) {
		switch name {
		case "major":
			num(r, &d.Major)
		case "minor":
			num(r, &d.Minor)
		case "rate":
			num(r, &d.Rate)
		default:
			r.skip()
		}
	})
}

func hugepageLimit(r *reader, h *specs.LinuxHugepageLimit) {
	r.object(func(name string) {
		switch name {
		case "pageSize":
			str(r, &h.Pagesize)
		case "limit":
			num(r, &h.Limit)
		default:
			r.skip()
		}
	})
}

func network(r *reader, n *specs.LinuxNetwork) {
	r.object(func(name string) {
		switch name {
		case "classID":
			ptr(r, &n.ClassID, num[uint32])
		case "priorities":
			list(r, &n.Priorities, interfacePriority)
		default:
			r.skip()
		}
	})
}

func interfacePriority(r *reader, p *specs.LinuxInterfacePriority) {
	r.object(func(name string) {
		switch name {
		case "name":
			str(r, &p.Name)
		case "priority":
			num(r, &p.Priority)
		default:
			r.skip()
		}
	})
}

func rdma(r *reader, v *specs.LinuxRdma) {
	r.object(func(name string) {
		switch name {
		case "hcaHandles":
			ptr(r, &v.HcaHandles, num[uint32])
		case "hcaObjects":
			ptr(r, &v.HcaObjects, num[uint32])
		default:
			r.skip()
		}
	})
}
