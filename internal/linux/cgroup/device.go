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

// AllowDevices limits the group to the devices that the rules allow.
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
	files := map[bool]int{true: -1, false: -1}
	for allow, name := range map[bool]string{true: "devices.allow", false: "devices.deny"} {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("limit devices: open %s: %w", name, err)
		}
		defer func() { _ = unix.Close(fd) }() // every write is checked below
		files[allow] = fd
	}
	p := foldDeviceRules(rules)
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

// foldDeviceRules applies the rules one after the other as the v1 files would.
// The start is what a new group has: everything is allowed.
func foldDeviceRules(rules []DeviceRule) devicePolicy {
	p := devicePolicy{allow: true}
	for _, r := range rules {
		if r.everything() {
			p = devicePolicy{allow: r.Allow}
			continue
		}
		if r.Type == 'a' { // of some access only: one rule for each type
			b, c := r, r
			b.Type, c.Type = 'b', 'c'
			p.add(b)
			p.add(c)
			continue
		}
		p.add(r)
	}
	return p
}

func (p *devicePolicy) add(r DeviceRule) {
	for i := range p.except {
		e := &p.except[i]
		if e.Type != r.Type || e.Major != r.Major || e.Minor != r.Minor {
			continue
		}
		if r.Allow != p.allow {
			e.Access = mergeAccess(e.Access, r.Access, true)
			return
		}
		if e.Access = mergeAccess(e.Access, r.Access, false); e.Access == "" {
			p.except = append(p.except[:i], p.except[i+1:]...)
		}
		return
	}
	if r.Allow != p.allow {
		p.except = append(p.except, r)
	}
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
