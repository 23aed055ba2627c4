package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// deviceRules gives the device allow-list: Docker's defaults and what --device
// and --device-cgroup-rule add. The first rule denies everything.
func (p *plan) deviceRules() []specs.LinuxDeviceCgroup {
	if p.rec.Host.Privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	rule := func(typ string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: typ, Access: access}
		if major >= 0 {
			r.Major = &major
		}
		if minor >= 0 {
			r.Minor = &minor
		}
		return r
	}
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule("c", -1, -1, "m"), rule("b", -1, -1, "m"), // mknod is harmless: opening is what counts
		rule("c", 1, 3, "rwm"), rule("c", 1, 5, "rwm"), rule("c", 1, 7, "rwm"), // null, zero, full
		rule("c", 1, 8, "rwm"), rule("c", 1, 9, "rwm"), // random, urandom
		rule("c", 5, 0, "rwm"), rule("c", 5, 1, "rwm"), rule("c", 5, 2, "rwm"), // tty, console, ptmx
		rule("c", 136, -1, "rwm"), // pts
	}
	return append(rules, p.deviceList...)
}

// device is a device node for a container.
type device struct {
	specs.LinuxDevice
	host string // the path of the machine's
}

func nodes(all []device) []specs.LinuxDevice {
	var out []specs.LinuxDevice
	for _, d := range all {
		out = append(out, d.LinuxDevice)
	}
	return out
}

// hostDevices resolves --device to nodes and rules. A directory gives all the
// devices below it.
func hostDevices(h *container.HostConfig) (nodes []device, rules []specs.LinuxDeviceCgroup, err error) {
	if h.Privileged {
		nodes = allDevices()
	}
	for _, d := range h.Devices {
		access := d.CgroupPermissions
		if access == "" {
			access = "rwm"
		}
		found, err := devicesAt(d.PathOnHost, d.PathInContainer)
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err // the path is said already
		}
		if err != nil {
			return nil, nil, errs.New(errs.InvalidArgument, "error gathering device information while adding custom device %q: %w", d.PathOnHost, err)
		}
		for _, n := range found {
			nodes = append(nodes, n)
			major, minor := n.Major, n.Minor
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &major, Minor: &minor, Access: access})
		}
	}
	for _, r := range h.DeviceCgroupRules {
		rule, err := parseDeviceRule(r)
		if err != nil {
			return nil, nil, err
		}
		rules = append(rules, rule)
	}
	return nodes, rules, nil
}

func devicesAt(host, inside string) ([]device, error) {
	if inside == "" {
		inside = host
	}
	real, err := filepath.EvalSymlinks(host)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(real); err == nil && info.IsDir() {
		var all []device
		err := filepath.WalkDir(real, func(p string, e os.DirEntry, err error) error {
			if err != nil || e.Type()&os.ModeDevice == 0 {
				return err
			}
			n, err := deviceNode(p)
			if err == nil {
				n.Path = filepath.Join(inside, strings.TrimPrefix(p, real))
				all = append(all, n)
			}
			return err
		})
		return all, err
	}
	n, err := deviceNode(real)
	if err != nil {
		return nil, err
	}
	n.Path = inside
	return []device{n}, nil
}

func deviceNode(p string) (device, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return device{}, &os.PathError{Op: "stat", Path: p, Err: err}
	}
	typ := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		typ = "c"
	case unix.S_IFBLK:
		typ = "b"
	default:
		return device{}, errors.New("not a device node")
	}
	mode := os.FileMode(st.Mode & 0o777)
	return device{host: p, LinuxDevice: specs.LinuxDevice{
		Path: p, Type: typ, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}}, nil
}

// allDevices lists the host's devices for a privileged container, but for those
// that each container has of its own.
func allDevices() []device {
	var all []device
	_ = filepath.WalkDir("/dev", func(p string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // a device that goes away meanwhile is none
		case e.IsDir() && (p == "/dev/pts" || p == "/dev/shm" || p == "/dev/fd" || p == "/dev/mqueue" || p == "/dev/.lxc"):
			return filepath.SkipDir
		case e.Type()&os.ModeDevice == 0 || p == "/dev/console":
			return nil
		}
		if n, err := deviceNode(p); err == nil {
			all = append(all, n)
		}
		return nil
	})
	return all
}

// parseDeviceRule parses "c 1:* rwm".
func parseDeviceRule(s string) (specs.LinuxDeviceCgroup, error) {
	bad := errs.New(errs.InvalidArgument, "invalid device cgroup rule format: '%s'", s)
	f := strings.Fields(s)
	if len(f) != 3 || !strings.Contains("abc", f[0]) || len(f[0]) != 1 || strings.Trim(f[2], "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	r := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[2]}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return r, bad
	}
	for _, part := range []struct {
		text string
		to   **int64
	}{{major, &r.Major}, {minor, &r.Minor}} {
		if part.text == "*" {
			continue
		}
		n, err := strconv.ParseInt(part.text, 10, 64)
		if err != nil {
			return r, bad
		}
		*part.to = &n
	}
	return r, nil
}

func blockIO(h *container.HostConfig) (*specs.LinuxBlockIO, error) {
	b := &specs.LinuxBlockIO{}
	set := false
	if h.BlkioWeight > 0 {
		b.Weight, set = &h.BlkioWeight, true
	}
	for _, w := range h.BlkioWeightDevice {
		n, err := deviceNode(w.Path)
		if err != nil {
			return nil, errs.Wrap(errs.InvalidArgument, err)
		}
		d := specs.LinuxWeightDevice{Weight: &w.Weight}
		d.Major, d.Minor = n.Major, n.Minor
		b.WeightDevice, set = append(b.WeightDevice, d), true
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{h.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {h.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{h.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {h.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, dev := range t.from {
			n, err := deviceNode(dev.Path)
			if err != nil {
				return nil, errs.Wrap(errs.InvalidArgument, err)
			}
			d := specs.LinuxThrottleDevice{Rate: dev.Rate}
			d.Major, d.Minor = n.Major, n.Minor
			*t.to, set = append(*t.to, d), true
		}
	}
	if !set {
		return nil, nil
	}
	return b, nil
}
