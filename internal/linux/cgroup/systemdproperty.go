package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// What systemd can do since which version, of what this package asks for.
const (
	sinceQuotaPeriod = 242
	sinceCpuset      = 244
	sinceCPUIdle     = 252
)

// infinity is systemd's word for no limit.
const infinity = uint64(math.MaxUint64)

func property(name string, value systemd.Value) systemd.Property {
	return systemd.Property{Name: name, Value: value}
}

func yes(name string) systemd.Property { return property(name, systemd.Bool(true)) }

// unitProperties is what every scope has. Accounting is what makes systemd use a
// controller.
func (s Scope) unitProperties(pid int, v2 bool) []systemd.Property {
	blockIO := "BlockIOAccounting"
	if v2 {
		blockIO = "IOAccounting"
	}
	return []systemd.Property{
		property("Description", systemd.String("Gantry container "+strings.TrimSuffix(s.Unit, ".scope"))),
		property("Slice", systemd.String(s.Slice)), property("PIDs", systemd.Array("u", systemd.Uint32(uint32(pid)))),
		yes("Delegate"), property("DefaultDependencies", systemd.Bool(false)),
		yes("MemoryAccounting"), yes("CPUAccounting"), yes("TasksAccounting"), yes(blockIO),
	}
}

// limitProperties are the limits that systemd has a property for, of the given
// version. A CPU quota is rounded up in r as well, as systemd counts in hundredths
// of a CPU.
func limitProperties(r *Resources, v2 bool, version int) ([]systemd.Property, error) {
	var all []systemd.Property
	add := func(name string, value systemd.Value) { all = append(all, property(name, value)) }
	if v2 {
		if err := addUnified(add, r, version); err != nil {
			return nil, err
		}
	} else {
		addIf(add, "MemoryLimit", uint64(r.Memory))
		addIf(add, "CPUShares", r.CpuShares)
		addIf(add, "BlockIOWeight", uint64(r.BlkioWeight))
	}
	addThrottles(add, r, v2)
	if n := r.PidsLimit; n != nil {
		add("TasksMax", systemd.Uint64(tasksMax(*n)))
	}
	addQuota(add, &r.CpuQuota, r.CpuPeriod, version)
	for _, set := range [][2]string{{"AllowedCPUs", r.CpusetCpus}, {"AllowedMemoryNodes", r.CpusetMems}} {
		if err := addCpuset(add, set[0], set[1], version); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// addIf leaves out what was not asked for.
func addIf(add func(string, systemd.Value), name string, value uint64) {
	if value != 0 {
		add(name, systemd.Uint64(value))
	}
}

// tasksMax is a limit of processes, of which systemd demands one at least.
func tasksMax(limit int64) uint64 {
	if limit < 0 {
		return infinity
	}
	return uint64(max(limit, 1))
}

func addUnified(add func(string, systemd.Value), r *Resources, version int) error {
	addIf(add, "MemoryMax", uint64(r.Memory))
	addIf(add, "MemoryLow", uint64(r.MemoryReservation))
	swap, err := swapOnly(r.MemorySwap, r.Memory)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	addIf(add, "MemorySwapMax", uint64(swap))
	if r.CPUIdle != nil && *r.CPUIdle == 1 && version >= sinceCPUIdle {
		add("CPUWeight", systemd.Uint64(0))
	} else {
		addIf(add, "CPUWeight", r.CpuWeight)
	}
	addIf(add, "IOWeight", ioWeight(r.BlkioWeight))
	for _, key := range slices.Sorted(maps.Keys(r.Unified)) {
		if err := addUnifiedKey(add, key, strings.TrimSpace(r.Unified[key]), version); err != nil {
			return errs.New(errs.InvalidArgument, "unified resource %q=%q: %w", key, r.Unified[key], err)
		}
	}
	return nil
}

// unifiedSizes are the files of a v2 group that hold a number or "max".
var unifiedSizes = map[string]string{
	"memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin", "memory.max": "MemoryMax",
	"memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight",
}

// addUnifiedKey translates what would be written to a file of a v2 group. What
// systemd does not know is written only.
func addUnifiedKey(add func(string, systemd.Value), key, value string, version int) error {
	switch name := unifiedSizes[key]; {
	case name != "" && value == "max":
		add(name, systemd.Uint64(infinity))
	case name != "":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return err
		}
		if name == "TasksMax" {
			n = max(n, 1)
		}
		add(name, systemd.Uint64(n))
	case key == "cpuset.cpus":
		return addCpuset(add, "AllowedCPUs", value, version)
	case key == "cpuset.mems":
		return addCpuset(add, "AllowedMemoryNodes", value, version)
	case key == "cpu.max":
		quota, period := int64(-1), uint64(0)
		text, rest, _ := strings.Cut(value, " ")
		var err error
		if text != "max" {
			quota, err = strconv.ParseInt(text, 10, 64)
		}
		if rest = strings.TrimSpace(rest); rest != "" && err == nil {
			period, err = strconv.ParseUint(rest, 10, 64)
		}
		if err != nil {
			return err
		}
		addQuota(add, &quota, period, version)
	}
	return nil
}

// addQuota adds a CPU quota of microseconds in each period; 0: not asked for, -1: none.
func addQuota(add func(string, systemd.Value), quota *int64, period uint64, version int) {
	if *quota == 0 && period == 0 {
		return
	}
	if period != 0 && version >= sinceQuotaPeriod {
		add("CPUQuotaPeriodUSec", systemd.Uint64(period))
	}
	perSecond := infinity
	if *quota > 0 {
		if period == 0 {
			period = 100_000 // the kernel's own
		}
		const second, hundredth = 1_000_000, 10_000
		perSecond = (uint64(*quota)*second/period + hundredth - 1) / hundredth * hundredth
		*quota = int64(perSecond * period / second)
	}
	add("CPUQuotaPerSecUSec", systemd.Uint64(perSecond))
}

func addCpuset(add func(string, systemd.Value), name, list string, version int) error {
	if list == "" || version < sinceCpuset {
		return nil
	}
	bits, err := bitmap(list)
	if err != nil {
		return errs.New(errs.InvalidArgument, "%s: %w", name, err)
	}
	add(name, systemd.Bytes(bits))
	return nil
}

func addThrottles(add func(string, systemd.Value), r *Resources, v2 bool) {
	names := map[string][]ThrottleDevice{
		"BlockIOReadBandwidth": r.BlkioThrottleReadBpsDevice, "BlockIOWriteBandwidth": r.BlkioThrottleWriteBpsDevice,
	}
	if v2 {
		names = map[string][]ThrottleDevice{
			"IOReadBandwidthMax": r.BlkioThrottleReadBpsDevice, "IOWriteBandwidthMax": r.BlkioThrottleWriteBpsDevice,
			"IOReadIOPSMax": r.BlkioThrottleReadIOPSDevice, "IOWriteIOPSMax": r.BlkioThrottleWriteIOPSDevice,
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var list []systemd.Value
		for _, d := range names[name] {
			path := fmt.Sprintf("/dev/block/%d:%d", d.Major, d.Minor)
			list = append(list, systemd.Struct(systemd.String(path), systemd.Uint64(d.Rate)))
		}
		if list != nil {
			add(name, systemd.Array("(st)", list...))
		}
	}
}

// propertyPrefix begins an annotation that is a property of the unit.
const propertyPrefix = "org.systemd.property."

// AnnotatedProperties reads properties of the unit from annotations such as
// org.systemd.property.TimeoutStopUSec, whose values are in D-Bus's text form. A
// name that ends in Sec has seconds for a value.
func AnnotatedProperties(annotations map[string]string) ([]systemd.Property, error) {
	var all []systemd.Property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, propertyPrefix)
		if !ok {
			continue
		}
		letters := strings.IndexFunc(name, func(c rune) bool { return (c|0x20) < 'a' || (c|0x20) > 'z' }) < 0
		if len(name) < 3 || !letters {
			return nil, errs.New(errs.InvalidArgument, "annotation %s: %q does not name a property of systemd", key, name)
		}
		value, err := systemd.Parse(annotations[key])
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "annotation %s=%s: %w", key, annotations[key], err)
		}
		if stem, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(name, "USec") {
			name = stem + "USec"
			if value, err = microseconds(value); err != nil {
				return nil, errs.New(errs.InvalidArgument, "annotation %s=%s: %w", key, annotations[key], err)
			}
		}
		all = append(all, systemd.Property{Name: name, Value: value})
	}
	return all, nil
}

func microseconds(seconds systemd.Value) (systemd.Value, error) {
	n, ok := seconds.Number()
	if !ok {
		return seconds, fmt.Errorf("%s is not a number of seconds", seconds)
	}
	if n < 0 || n > math.MaxInt64/1e6 {
		return seconds, fmt.Errorf("%s is out of range", seconds)
	}
	return systemd.Uint64(uint64(n * 1e6)), nil
}
