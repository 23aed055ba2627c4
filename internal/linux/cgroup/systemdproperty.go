package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	libsystemd "github.com/opencontainers/cgroups/systemd"

	"github.com/gantry-run/gantry/internal/errs"
)

// What systemd can do since which version, of what this package asks for.
const (
	sinceQuotaPeriod = 242
	sinceCpuset      = 244
	sinceCPUIdle     = 252
)

// infinity is systemd's word for no limit.
const infinity = uint64(math.MaxUint64)

func property(name string, value any) systemd.Property {
	return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// unitProperties is what every scope has. Accounting is what makes systemd use a
// controller.
func (s Scope) unitProperties(pid int, v2 bool) []systemd.Property {
	blockIO := "BlockIOAccounting"
	if v2 {
		blockIO = "IOAccounting"
	}
	return []systemd.Property{
		systemd.PropDescription("Gantry container " + strings.TrimSuffix(s.Unit, ".scope")), systemd.PropSlice(s.Slice), systemd.PropPids(uint32(pid)),
		property("Delegate", true), property("DefaultDependencies", false),
		property("MemoryAccounting", true), property("CPUAccounting", true), property("TasksAccounting", true), property(blockIO, true),
	}
}

// limitProperties are the limits that systemd has a property for, of the given
// version. A CPU quota is rounded up in r as well, as systemd counts in hundredths
// of a CPU.
func limitProperties(r *cgroups.Resources, v2 bool, version int) ([]systemd.Property, error) {
	var all []systemd.Property
	add := func(name string, value any) { all = append(all, property(name, value)) }
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
		add("TasksMax", tasksMax(*n))
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
func addIf(add func(string, any), name string, value uint64) {
	if value != 0 {
		add(name, value)
	}
}

// tasksMax is a limit of processes, of which systemd demands one at least.
func tasksMax(limit int64) uint64 {
	if limit < 0 {
		return infinity
	}
	return uint64(max(limit, 1))
}

func addUnified(add func(string, any), r *cgroups.Resources, version int) error {
	addIf(add, "MemoryMax", uint64(r.Memory))
	addIf(add, "MemoryLow", uint64(r.MemoryReservation))
	swap, err := cgroups.ConvertMemorySwapToCgroupV2Value(r.MemorySwap, r.Memory)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	addIf(add, "MemorySwapMax", uint64(swap))
	if r.CPUIdle != nil && *r.CPUIdle == 1 && version >= sinceCPUIdle {
		add("CPUWeight", uint64(0))
	} else {
		addIf(add, "CPUWeight", r.CpuWeight)
	}
	addIf(add, "IOWeight", cgroups.ConvertBlkIOToIOWeightValue(r.BlkioWeight))
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
func addUnifiedKey(add func(string, any), key, value string, version int) error {
	switch name := unifiedSizes[key]; {
	case name != "" && value == "max":
		add(name, infinity)
	case name != "":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return err
		}
		if name == "TasksMax" {
			n = max(n, 1)
		}
		add(name, n)
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
func addQuota(add func(string, any), quota *int64, period uint64, version int) {
	if *quota == 0 && period == 0 {
		return
	}
	if period != 0 && version >= sinceQuotaPeriod {
		add("CPUQuotaPeriodUSec", period)
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
	add("CPUQuotaPerSecUSec", perSecond)
}

func addCpuset(add func(string, any), name, list string, version int) error {
	if list == "" || version < sinceCpuset {
		return nil
	}
	bits, err := libsystemd.RangeToBits(list)
	if err != nil {
		return errs.New(errs.InvalidArgument, "%s: %w", name, err)
	}
	add(name, bits)
	return nil
}

// deviceLimit is a limit for one device, by a name that systemd understands.
type deviceLimit struct {
	Path  string
	Limit uint64
}

func addThrottles(add func(string, any), r *cgroups.Resources, v2 bool) {
	names := map[string][]*cgroups.ThrottleDevice{
		"BlockIOReadBandwidth": r.BlkioThrottleReadBpsDevice, "BlockIOWriteBandwidth": r.BlkioThrottleWriteBpsDevice,
	}
	if v2 {
		names = map[string][]*cgroups.ThrottleDevice{
			"IOReadBandwidthMax": r.BlkioThrottleReadBpsDevice, "IOWriteBandwidthMax": r.BlkioThrottleWriteBpsDevice,
			"IOReadIOPSMax": r.BlkioThrottleReadIOPSDevice, "IOWriteIOPSMax": r.BlkioThrottleWriteIOPSDevice,
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var list []deviceLimit
		for _, d := range names[name] {
			list = append(list, deviceLimit{fmt.Sprintf("/dev/block/%d:%d", d.Major, d.Minor), d.Rate})
		}
		if list != nil {
			add(name, list)
		}
	}
}

// allowedDevice is an element of DeviceAllow.
type allowedDevice struct{ Path, Access string }

// deviceProperties tell systemd which devices are allowed. It knows lists of what
// is allowed only: of a list of what is denied it gets to know that nothing is
// allowed, which is what holds if it ever writes the rules by itself.
func deviceProperties(rules []DeviceRule) []systemd.Property {
	if len(rules) == 0 {
		return nil
	}
	p := foldDeviceRules(rules)
	if p.allow && len(p.except) == 0 {
		return []systemd.Property{property("DeviceAllow", []allowedDevice{}), property("DevicePolicy", "auto")}
	}
	list := []allowedDevice{}
	for _, e := range p.except {
		if name := deviceName(e); name != "" && !p.allow {
			list = append(list, allowedDevice{name, e.Access})
		}
	}
	// The empty list comes first, as others are added to what is there.
	return []systemd.Property{
		property("DeviceAllow", []allowedDevice{}), property("DevicePolicy", "strict"), property("DeviceAllow", list),
	}
}

// deviceName is the rule's device for systemd, "" if it has no name for it.
func deviceName(r DeviceRule) string {
	kind := map[byte]string{'b': "block", 'c': "char"}[r.Type]
	switch {
	case r.Major < 0 && r.Minor < 0:
		return kind + "-*"
	case r.Major < 0:
		return ""
	case r.Minor < 0:
		return fmt.Sprintf("%s-%d", kind, r.Major)
	}
	return fmt.Sprintf("/dev/%s/%d:%d", kind, r.Major, r.Minor)
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
		value, err := dbus.ParseVariant(annotations[key], dbus.Signature{})
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

func microseconds(seconds dbus.Variant) (dbus.Variant, error) {
	var n float64
	switch v := seconds.Value().(type) {
	case float64:
		n = v
	case int32:
		n = float64(v)
	case uint32:
		n = float64(v)
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	default:
		return seconds, fmt.Errorf("%s is not a number of seconds", seconds)
	}
	if n < 0 || n > math.MaxInt64/1e6 {
		return seconds, fmt.Errorf("%s is out of range", seconds)
	}
	return dbus.MakeVariant(uint64(n * 1e6)), nil
}
