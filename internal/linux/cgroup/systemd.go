package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// Scope is the unit under which systemd knows a group. systemd makes the group's
// directories in the hierarchies that it uses, and writes the limits that it was
// told whenever it likes: so it is told all that it has a property for. The
// group below the unit is delegated; everything else is done by ourselves.
type Scope struct {
	Unit  string // "docker-ID.scope"
	Slice string // the unit above it
	User  bool   `json:",omitempty"` // known to the user's systemd, not to the machine's
}

// systemdTimeout bounds how long systemd may take for one thing.
const systemdTimeout = 30 * time.Second

// LocateScope tells where the group of a container is that systemd makes. path
// is "slice:prefix:name", as runc has it, for the unit prefix-name.scope in the
// slice; each part may be empty. Nothing is created.
func LocateScope(path, id string) (Group, error) {
	if info, err := os.Lstat("/run/systemd/system"); err != nil || !info.IsDir() {
		return Group{}, errs.New(errs.Unsupported, "systemd not running on this host, cannot use systemd cgroups manager")
	}
	s, slice, err := parseScope(path, id)
	if err != nil {
		return Group{}, err
	}
	s.User = ns.Rootless()
	above := "/"
	if s.User {
		if s.Slice == "" {
			s.Slice, slice = "user.slice", "/user.slice"
		}
		if above, err = userManagerGroup(); err != nil {
			return Group{}, err
		}
	} else if s.Slice == "" {
		s.Slice, slice = "system.slice", "/system.slice"
	}
	g, err := Locate(filepath.Join(above, slice, s.Unit), "")
	if s.User && !g.V2() && err == nil {
		err = errs.New(errs.Unsupported, "cannot use rootless systemd cgroups manager on cgroup v1")
	}
	g.Scope = s
	return g, err
}

// parseScope gives the unit and the path of its slice.
func parseScope(path, id string) (*Scope, string, error) {
	slice, prefix, name := "", "gantry", id
	if path != "" {
		parts := strings.Split(path, ":")
		if len(parts) != 3 {
			return nil, "", errs.New(errs.InvalidArgument, "expected cgroupsPath to be of format %q for systemd cgroups, got %q instead", "slice:prefix:name", path)
		}
		slice, prefix, name = parts[0], parts[1], parts[2]
	}
	s := &Scope{Unit: prefix + "-" + name + ".scope", Slice: slice}
	if name == "" || strings.ContainsAny(s.Unit, "/\x00") {
		return nil, "", errs.New(errs.InvalidArgument, "cgroupsPath %q does not name a systemd unit", path)
	}
	if slice == "" {
		return s, "", nil
	}
	dir, ok := slicePath(slice)
	if !ok {
		return nil, "", errs.New(errs.InvalidArgument, "cgroupsPath %q: invalid slice name: %s", path, slice)
	}
	return s, dir, nil
}

// ValidSlice tells whether systemd knows slices by such a name.
func ValidSlice(name string) bool {
	_, ok := slicePath(name)
	return ok
}

// slicePath is where the group of a slice is: a-b.slice is in a.slice, and
// -.slice is the root (systemd.slice(5)).
func slicePath(slice string) (string, bool) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if name == "-" && ok {
		return "/", true
	}
	parts := strings.Split(name, "-")
	if !ok || strings.ContainsAny(name, "/\x00") || slices.Contains(parts, "") {
		return "", false
	}
	dir := ""
	for i := range parts {
		dir += "/" + strings.Join(parts[:i+1], "-") + ".slice"
	}
	return dir, true
}

// userManagerGroup is where the user's systemd has its group.
func userManagerGroup() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdTimeout)
	defer cancel()
	conn, err := Scope{User: true}.connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	path, err := conn.ManagerProperty("ControlGroup")
	if err != nil {
		return "", fmt.Errorf("find the group of the user's systemd: %w", err)
	}
	return path, nil
}

// connect opens a connection for one task: one that is kept would have to be
// watched, and renewed when systemd or its bus starts again.
func (s Scope) connect(ctx context.Context) (conn *systemd.Conn, err error) {
	if s.User {
		conn, err = dialUser(ctx)
	} else {
		conn, err = systemd.Dial(ctx)
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable, "connect to systemd: %w", err)
	}
	return conn, nil
}

// dialUser connects to the bus of the user's session, or straight to the user's
// systemd if there is no bus.
func dialUser(ctx context.Context) (*systemd.Conn, error) {
	bus, dir := os.Getenv("DBUS_SESSION_BUS_ADDRESS"), os.Getenv("XDG_RUNTIME_DIR")
	if bus == "" && dir == "" {
		return nil, errors.New("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	uid, err := outerUID()
	if err != nil {
		return nil, err
	}
	return systemd.DialUser(ctx, bus, dir, uid)
}

// outerUID is the user as those outside of this user namespace know it.
func outerUID() (int, error) {
	uid := os.Geteuid()
	data, err := fd.ReadFile("/proc/self/uid_map")
	if err != nil {
		return -1, err
	}
	for line := range bytes.Lines(data) {
		var n [3]int // first number inside and outside, and how many
		for i, word := range strings.Fields(string(line)) {
			if n[i%len(n)], err = strconv.Atoi(word); err != nil {
				return -1, fmt.Errorf("read /proc/self/uid_map: %w", err)
			}
		}
		if uid >= n[0] && uid-n[0] < n[2] {
			return n[1] + uid - n[0], nil
		}
	}
	return -1, fmt.Errorf("user %d has no name outside of its user namespace", uid)
}

// StartScope has systemd make the group and its unit, with the given properties
// besides those for the limits, and completes the group as Create, Set and
// AllowDevices do. The unit lives until the Placeholder is released, and as long
// as there are other processes in it. Undo with Remove. After an error nothing is
// left of it; errs.Conflict means that there is such a unit already.
func (g Group) StartScope(r *Resources, devices []DeviceRule, more []systemd.Property) (_ *Placeholder, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdTimeout)
	defer cancel()
	conn, err := g.Scope.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	limits := *r
	properties, err := limitProperties(&limits, g.V2(), systemdVersion(conn))
	if err != nil {
		return nil, err
	}
	hold, err := newPlaceholder()
	if err != nil {
		return nil, err
	}
	properties = slices.Concat(properties, deviceProperties(devices), g.Scope.unitProperties(hold.child.Pid, g.V2()), more)
	if err := g.Scope.start(conn, properties); err != nil {
		hold.Release()
		return nil, err
	}
	if err := g.complete(&limits, devices); err != nil {
		hold.Release()
		return nil, errors.Join(err, g.Remove(ctx))
	}
	return hold, nil
}

// complete does what systemd does not: other hierarchies, and limits that it has
// no property for.
func (g Group) complete(r *Resources, devices []DeviceRule) error {
	if err := g.create(r, true); err != nil { // the placeholder is in it
		return err
	}
	if err := g.write(r); err != nil {
		return err
	}
	return g.writeDevices(devices)
}

func (s Scope) start(conn *systemd.Conn, properties []systemd.Property) error {
	err := conn.StartTransientUnit(s.Unit, properties)
	if systemd.Is(err, "UnitExists") {
		// A unit that has failed keeps its name until it is told not to.
		if rerr := conn.ResetFailedUnit(s.Unit); rerr != nil {
			return errs.New(errs.Conflict, "start systemd unit %q: %w", s.Unit, err)
		}
		err = conn.StartTransientUnit(s.Unit, properties)
	}
	switch {
	case err == nil:
		return nil
	case systemd.Is(err, "InvalidArgs"), systemd.Is(err, "PropertyReadOnly"):
		return errs.New(errs.InvalidArgument, "start systemd unit %q: %w", s.Unit, err)
	case systemd.Is(err, "UnitExists"):
		return errs.New(errs.Conflict, "start systemd unit %q: %w", s.Unit, err)
	}
	return fmt.Errorf("start systemd unit %q: %w", s.Unit, err)
}

// set tells systemd properties of the unit.
func (s Scope) set(properties func(version int) ([]systemd.Property, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), systemdTimeout)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := properties(systemdVersion(conn))
	if err != nil || len(list) == 0 {
		return err
	}
	if err := conn.SetUnitProperties(s.Unit, list); err != nil {
		return fmt.Errorf("set properties of systemd unit %q: %w", s.Unit, err)
	}
	return nil
}

// stop ends the unit, which kills what is in it. That there is none is no error:
// systemd forgets a unit with its last process.
func (s Scope) stop(ctx context.Context) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err = conn.StopUnit(s.Unit); systemd.Is(err, "NoSuchUnit") {
		err = nil
	}
	if rerr := conn.ResetFailedUnit(s.Unit); err == nil && rerr != nil && !systemd.Is(rerr, "NoSuchUnit") {
		err = rerr
	}
	if err != nil {
		return fmt.Errorf("stop systemd unit %q: %w", s.Unit, err)
	}
	return nil
}

// systemdVersion is the number of systemd's release, 0 if it does not tell.
func systemdVersion(conn *systemd.Conn) int {
	text, err := conn.ManagerProperty("Version")
	if err != nil {
		return 0
	}
	return parseVersion(text)
}

// parseVersion reads "252.38-1~deb12u1", "v245".
func parseVersion(text string) int {
	text = strings.TrimPrefix(text, "v")
	end := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' })
	if end >= 0 {
		text = text[:end]
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
