package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// maxCPU is above every number of a CPU or memory node.
const maxCPU = 1 << 16

// bitmap has a bit for each number in a list such as "0,2-3", the lowest first.
func bitmap(list string) ([]byte, error) {
	var bits []byte
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil, err
		}
		last, err := strconv.ParseUint(to, 10, 32)
		if err != nil {
			return nil, err
		}
		if first > last || last >= maxCPU {
			return nil, fmt.Errorf("invalid range: %s", part)
		}
		if need := int(last/8) + 1; need > len(bits) {
			bits = append(bits, make([]byte, need-len(bits))...)
		}
		for n := first; n <= last; n++ {
			bits[n/8] |= 1 << (n % 8)
		}
	}
	if len(bits) == 0 {
		return nil, errors.New("empty value")
	}
	return bits, nil
}

// deviceAllow gives the property for a list of devices and what may be done with them.
func deviceAllow(list ...systemd.Value) systemd.Property {
	return property("DeviceAllow", systemd.Array("(ss)", list...))
}

// deviceProperties tell systemd which devices are allowed. It knows lists of what
// is allowed only: of a list of what is denied it gets to know that nothing is
// allowed, which is what holds if it ever writes the rules by itself. What is denied
// within something that is allowed it does not know either: that our own program
// sees to.
func deviceProperties(rules []DeviceRule) []systemd.Property {
	if len(rules) == 0 {
		return nil
	}
	p, _ := foldDeviceRules(rules)
	if p.allow && len(p.except) == 0 {
		return []systemd.Property{deviceAllow(), property("DevicePolicy", systemd.String("auto"))}
	}
	var list []systemd.Value
	for _, e := range p.except {
		if name := deviceName(e); name != "" && !p.allow {
			list = append(list, systemd.Struct(systemd.String(name), systemd.String(e.Access)))
		}
	}
	// The empty list comes first, as others are added to what is there.
	return []systemd.Property{deviceAllow(), property("DevicePolicy", systemd.String("strict")), deviceAllow(list...)}
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
