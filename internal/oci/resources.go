package oci

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// buildResources translates limits. v2 tells which of the two scales the CPU
// weight is to be on. It is pure.
func buildResources(r *specs.LinuxResources, v2 bool) (*cgroup.Resources, error) {
	out := &cgroup.Resources{}
	if r == nil {
		return out, nil
	}
	if m := r.Memory; m != nil {
		set(&out.Memory, m.Limit)
		set(&out.MemoryReservation, m.Reservation)
		set(&out.MemorySwap, m.Swap)
		set(&out.OomKillDisable, m.DisableOOMKiller)
		out.MemorySwappiness = m.Swappiness
		set(&out.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	}
	if c := r.CPU; c != nil {
		set(&out.CpuShares, c.Shares)
		set(&out.CpuQuota, c.Quota)
		set(&out.CpuPeriod, c.Period)
		set(&out.CpuRtRuntime, c.RealtimeRuntime)
		set(&out.CpuRtPeriod, c.RealtimePeriod)
		out.CpuBurst, out.CPUIdle = c.Burst, c.Idle
		out.CpusetCpus, out.CpusetMems = c.Cpus, c.Mems
		if v2 && out.CpuShares != 0 {
			out.CpuWeight = cgroup.CPUWeight(out.CpuShares)
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		limit := *r.Pids.Limit
		out.PidsLimit = &limit
	}
	addBlockIO(out, r.BlockIO)
	for _, h := range r.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, cgroup.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	if n := r.Network; n != nil {
		set(&out.NetClsClassid, n.ClassID)
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, cgroup.InterfacePriority{Interface: p.Name, Priority: p.Priority})
		}
	}
	for device, limit := range r.Rdma {
		if out.Rdma == nil {
			out.Rdma = map[string]cgroup.RdmaLimit{}
		}
		out.Rdma[device] = cgroup.RdmaLimit{HcaHandles: limit.HcaHandles, HcaObjects: limit.HcaObjects}
	}
	if len(r.Unified) > 0 {
		if !v2 {
			return nil, errs.New(errs.InvalidArgument, "invalid configuration: cannot use unified on cgroup v1")
		}
		out.Unified = r.Unified
	}
	return out, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func addBlockIO(out *cgroup.Resources, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	set(&out.BlkioWeight, b.Weight)
	set(&out.BlkioLeafWeight, b.LeafWeight)
	for _, d := range b.WeightDevice {
		var weight, leaf uint16
		set(&weight, d.Weight)
		set(&leaf, d.LeafWeight)
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, cgroup.WeightDevice{Major: d.Major, Minor: d.Minor, Weight: weight, LeafWeight: leaf})
	}
	throttle := func(list []specs.LinuxThrottleDevice) (all []cgroup.ThrottleDevice) {
		for _, d := range list {
			all = append(all, cgroup.ThrottleDevice{Major: d.Major, Minor: d.Minor, Rate: d.Rate})
		}
		return all
	}
	out.BlkioThrottleReadBpsDevice = throttle(b.ThrottleReadBpsDevice)
	out.BlkioThrottleWriteBpsDevice = throttle(b.ThrottleWriteBpsDevice)
	out.BlkioThrottleReadIOPSDevice = throttle(b.ThrottleReadIOPSDevice)
	out.BlkioThrottleWriteIOPSDevice = throttle(b.ThrottleWriteIOPSDevice)
}

// alwaysAllowed is what every container may use, whatever its rules: its
// default devices, terminals, and the making of device nodes as such.
var alwaysAllowed = []cgroup.DeviceRule{
	{Allow: true, Type: 'c', Major: -1, Minor: -1, Access: "m"},
	{Allow: true, Type: 'b', Major: -1, Minor: -1, Access: "m"},
	{Allow: true, Type: 'c', Major: 1, Minor: 3, Access: "rwm"},    // null
	{Allow: true, Type: 'c', Major: 1, Minor: 8, Access: "rwm"},    // random
	{Allow: true, Type: 'c', Major: 1, Minor: 7, Access: "rwm"},    // full
	{Allow: true, Type: 'c', Major: 5, Minor: 0, Access: "rwm"},    // tty
	{Allow: true, Type: 'c', Major: 1, Minor: 5, Access: "rwm"},    // zero
	{Allow: true, Type: 'c', Major: 1, Minor: 9, Access: "rwm"},    // urandom
	{Allow: true, Type: 'c', Major: 136, Minor: -1, Access: "rwm"}, // pts
	{Allow: true, Type: 'c', Major: 5, Minor: 2, Access: "rwm"},    // ptmx
}

// buildDeviceRules translates the allow-list. Without resources at all there is
// no limit on devices. It is pure.
func buildDeviceRules(r *specs.LinuxResources) ([]cgroup.DeviceRule, error) {
	if r == nil {
		return nil, nil
	}
	var out []cgroup.DeviceRule
	for _, d := range r.Devices {
		rule := cgroup.DeviceRule{Allow: d.Allow, Major: -1, Minor: -1}
		switch d.Type {
		case "", "a":
			rule.Type = 'a'
		case "b", "c":
			rule.Type = d.Type[0]
		default:
			return nil, errs.New(errs.InvalidArgument, "invalid type %q in device rule", d.Type)
		}
		var err error
		if rule.Access, err = buildAccess(d.Access); err != nil {
			return nil, err
		}
		if d.Major != nil && rule.Type != 'a' {
			rule.Major = *d.Major
		}
		if d.Minor != nil && rule.Type != 'a' {
			rule.Minor = *d.Minor
		}
		out = append(out, rule)
	}
	return append(out, alwaysAllowed...), nil
}

// buildAccess orders the letters of a rule. Unknown ones mean nothing, as with runc,
// unless there are no others.
func buildAccess(access string) (string, error) {
	if access == "" {
		return "rwm", nil
	}
	var out []byte
	for _, c := range []byte("rwm") {
		if strings.IndexByte(access, c) >= 0 {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return "", errs.New(errs.InvalidArgument, "invalid access %q in device rule", access)
	}
	return string(out), nil
}
