package cgroup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// DeviceRule allows or denies the use of devices. Later rules win.
type DeviceRule struct {
	Allow        bool
	Type         byte   // 'a' all, 'b' block, 'c' character
	Major, Minor int64  // -1: any
	Access       string // of "rwm": read, write, make
}

// String is the rule as the v1 files take it.
func (r DeviceRule) String() string {
	number := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return string(r.Type) + " " + number(r.Major) + ":" + number(r.Minor) + " " + r.Access
}

// everything tells whether the rule speaks of every device and access.
func (r DeviceRule) everything() bool {
	return r.Type == 'a' && r.Major < 0 && r.Minor < 0 && len(r.Access) == 3
}

// AllowDevices limits the group to the devices that the rules allow. Of all rules
// about a device and a kind of access the last one holds. See CheckDevices.
func (g Group) AllowDevices(rules []DeviceRule) error {
	if g.Scope == nil || len(rules) == 0 {
		return g.writeDevices(rules)
	}
	// Where systemd applies rules it denies everything for a moment.
	return g.whileFrozen(func() error {
		err := g.Scope.set(func(int) ([]systemd.Property, error) { return deviceProperties(rules), nil })
		if err != nil {
			return err
		}
		return g.writeDevices(rules)
	})
}

// writeDevices applies the rules to the group itself.
func (g Group) writeDevices(rules []DeviceRule) error {
	if len(rules) == 0 {
		return nil
	}
	if g.V2() {
		return g.attachDeviceFilter(rules)
	}
	dir, ok := g.V1["devices"]
	if !ok {
		return errs.New(errs.Unsupported, "limit devices: the devices cgroup is not mounted")
	}
	p, err := foldDeviceRules(rules)
	if err != nil {
		return fmt.Errorf("limit devices: %w", err)
	}
	files := map[bool]int{true: -1, false: -1}
	for allow, name := range map[bool]string{true: "devices.allow", false: "devices.deny"} {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("limit devices: open %s: %w", name, err)
		}
		defer func() { _ = unix.Close(fd) }() // every write is checked below
		files[allow] = fd
	}
	reset := "devices.deny"
	if p.allow {
		reset = "devices.allow"
	}
	if _, err := unix.Write(files[p.allow], []byte{'a'}); err != nil {
		return fmt.Errorf("limit devices: reset by %s: %w", reset, err)
	}
	for _, e := range p.except {
		e.Allow = !p.allow
		if _, err := unix.Write(files[e.Allow], []byte(e.String())); err != nil {
			return fmt.Errorf("limit devices: rule %q: %w", e, err)
		}
	}
	return nil
}

// devicePolicy is what a list of rules comes to: a default and what differs
// from it, in the order in which it was named.
type devicePolicy struct {
	allow  bool
	except []DeviceRule // Allow is not used
}

// CheckDevices tells whether AllowDevices can apply the rules. Cgroup v1 knows a
// default and exceptions from it, but none from an exception: it takes such a
// rule and ignores it.
func (g Group) CheckDevices(rules []DeviceRule) error {
	if g.V2() {
		return nil
	}
	_, err := foldDeviceRules(rules)
	return err
}

// foldDeviceRules applies the rules one after the other as the v1 files would.
// The start is what a new group has: everything is allowed. An exception from an
// exception gives an error, and a policy without it.
func foldDeviceRules(rules []DeviceRule) (devicePolicy, error) {
	p := devicePolicy{allow: true}
	var all error
	for _, r := range rules {
		if r.everything() {
			p, all = devicePolicy{allow: r.Allow}, nil
			continue
		}
		parts := []DeviceRule{r}
		if r.Type == 'a' { // of some access only: one rule for each type
			parts = append(parts, r)
			parts[0].Type, parts[1].Type = 'b', 'c'
		}
		for _, part := range parts {
			if part.Allow != p.allow {
				p.add(part)
			} else if err := p.remove(part); err != nil && all == nil {
				all = err
			}
		}
	}
	return p, all
}

// add adds an exception.
func (p *devicePolicy) add(r DeviceRule) {
	for i := range p.except {
		e := &p.except[i]
		if e.Type == r.Type && e.Major == r.Major && e.Minor == r.Minor {
			e.Access = mergeAccess(e.Access, r.Access, true)
			return
		}
	}
	p.except = append(p.except, r)
}

// remove takes back what r names of the exceptions, which must be whole ones.
func (p *devicePolicy) remove(r DeviceRule) (err error) {
	left := p.except[:0]
	for _, e := range p.except {
		rest := mergeAccess(e.Access, r.Access, false)
		switch {
		case rest == mergeAccess(e.Access, "", false) || !r.overlaps(e):
		case r.covers(e):
			e.Access = rest
		case err == nil:
			err = errs.New(errs.InvalidArgument, "cgroup v1 cannot %s %q within %q, which a rule before it %s",
				verb(r.Allow), r, e, map[bool]string{true: "denies", false: "allows"}[r.Allow])
		}
		if e.Access != "" {
			left = append(left, e)
		}
	}
	p.except = left
	return err
}

func verb(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

// overlaps tells whether there are devices of which both rules speak.
func (r DeviceRule) overlaps(e DeviceRule) bool {
	same := func(a, b int64) bool { return a < 0 || b < 0 || a == b }
	return r.Type == e.Type && same(r.Major, e.Major) && same(r.Minor, e.Minor)
}

// covers tells whether r speaks of all devices of which e speaks.
func (r DeviceRule) covers(e DeviceRule) bool {
	return r.Type == e.Type && (r.Major < 0 || r.Major == e.Major) && (r.Minor < 0 || r.Minor == e.Minor)
}

// mergeAccess is the union of two sets of access letters, or a without b.
func mergeAccess(a, b string, union bool) string {
	var out []byte
	for _, c := range []byte("rwm") {
		inA, inB := strings.IndexByte(a, c) >= 0, strings.IndexByte(b, c) >= 0
		if union && (inA || inB) || !union && inA && !inB {
			out = append(out, c)
		}
	}
	return string(out)
}
