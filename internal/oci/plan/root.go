package plan

import (
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// defaultDevices are in every container; a device of the specification with
// the same path replaces one. See "Default Devices" in the runtime specification.
var defaultDevices = []Device{
	{Path: "/dev/null", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 3},
	{Path: "/dev/zero", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 5},
	{Path: "/dev/full", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 7},
	{Path: "/dev/random", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 8},
	{Path: "/dev/urandom", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 9},
	{Path: "/dev/tty", Mode: unix.S_IFCHR | 0o666, Major: 5, Minor: 0},
}

// devLinks are the symbolic links that programs expect in /dev.
var devLinks = [][2]string{
	{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"}, {"/dev/core", "/proc/kcore"}, {"/dev/ptmx", "pts/ptmx"},
}

var propagations = map[string]struct {
	flag      uint64
	recursive bool
}{
	"": {unix.MS_SLAVE, true}, "slave": {unix.MS_SLAVE, false}, "rslave": {unix.MS_SLAVE, true},
	"private": {unix.MS_PRIVATE, false}, "rprivate": {unix.MS_PRIVATE, true},
	"shared": {unix.MS_SHARED, false}, "rshared": {unix.MS_SHARED, true},
	"unbindable": {unix.MS_UNBINDABLE, false}, "runbindable": {unix.MS_UNBINDABLE, true},
}

func buildRoot(spec *specs.Spec, linux *specs.Linux, rootPath string, userNS bool) (*Root, error) {
	propagation, ok := propagations[linux.RootfsPropagation]
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "rootfsPropagation=%s is not supported", linux.RootfsPropagation)
	}
	r := &Root{
		Path: rootPath, ReadOnly: spec.Root.Readonly, Propagation: propagation.flag, RecProp: propagation.recursive,
		Slave:  linux.RootfsPropagation != "" && propagation.flag == unix.MS_SLAVE,
		Masked: withoutRepeats(linux.MaskedPaths), ReadOnlyPaths: linux.ReadonlyPaths, MountLabel: linux.MountLabel,
	}
	for _, m := range spec.Mounts {
		target, err := buildMount(m, userNS)
		if err != nil {
			return nil, err
		}
		// Some say where the target is on the host.
		if inside, ok := strings.CutPrefix(target.Target, path.Clean(rootPath)+"/"); ok {
			target.Target = "/" + inside
		}
		r.Targets = append(r.Targets, target)
	}
	if err := r.addDevices(linux.Devices); err != nil {
		return nil, err
	}
	if devIsOurs(spec.Mounts) {
		r.Links = devLinks
	} else {
		r.Devices = nil // the host's /dev, or whatever is mounted there, is left alone
	}
	return r, nil
}

// withoutRepeats keeps the first of equal paths.
func withoutRepeats(list []string) []string {
	var out []string
	for _, name := range list {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// devIsOurs is false if /dev is bound from the host: then nothing is made in it.
func devIsOurs(mounts []specs.Mount) bool {
	for _, m := range mounts {
		if path.Clean("/"+m.Destination) == "/dev" && mount.ParseOptions(m.Options).Bind {
			return false
		}
	}
	return true
}

func buildMount(m specs.Mount, userNS bool) (Mount, error) {
	out := Mount{Target: path.Clean("/" + m.Destination), Type: m.Type, Source: m.Source, Options: mount.ParseOptions(m.Options)}
	if m.Type == "bind" && !out.Options.Bind {
		out.Options.Bind = true
	}
	if out.Options.Bind {
		out.Type = "bind"
		if m.Source == "" {
			return out, errs.New(errs.InvalidArgument, "mount %s: a bind mount needs a source", m.Destination)
		}
	}
	if out.Type == "" {
		return out, errs.New(errs.InvalidArgument, "mount %s: no type given", m.Destination)
	}
	return out, out.mapIDs(m, userNS)
}

// mapIDs checks what is said about the mount's ids. Mappings without the option
// imply it.
func (m *Mount) mapIDs(spec specs.Mount, userNS bool) error {
	switch {
	case len(spec.UIDMappings) == 0 != (len(spec.GIDMappings) == 0):
		return errs.New(errs.InvalidArgument, "mount %s: uidMappings and gidMappings must be specified together", m.Target)
	case len(spec.UIDMappings) > 0:
		m.Options.IDMap = true
	case m.Options.IDMap && !userNS:
		return errs.New(errs.InvalidArgument, "mount %s: idmap needs mappings, its own or those of a user namespace", m.Target)
	}
	if m.Options.IDMap && !m.Options.Bind && m.Type != "overlay" {
		return errs.New(errs.Unsupported, "mount %s: only the ids of bind mounts and of the layers of overlays can be mapped", m.Target)
	}
	return nil
}

func (r *Root) addDevices(list []specs.LinuxDevice) error {
	named := map[string]bool{}
	for _, d := range list {
		dev, fifo, err := buildDevice(d)
		if err != nil {
			return err
		}
		named[dev.Path] = true
		if fifo || !strings.HasPrefix(dev.Path, "/dev/ptmx") {
			r.Devices = append(r.Devices, dev)
		}
	}
	var defaults []Device
	for _, d := range defaultDevices {
		if !named[d.Path] {
			defaults = append(defaults, d)
		}
	}
	r.Devices = append(defaults, r.Devices...)
	return nil
}

func buildDevice(d specs.LinuxDevice) (dev Device, fifo bool, err error) {
	dev = Device{Path: path.Clean("/" + d.Path), Mode: 0o666, Major: uint32(d.Major), Minor: uint32(d.Minor)}
	if d.FileMode != nil {
		dev.Mode = uint32(d.FileMode.Perm())
	}
	if d.UID != nil {
		dev.UID = *d.UID
	}
	if d.GID != nil {
		dev.GID = *d.GID
	}
	switch d.Type {
	case "c", "u":
		dev.Mode |= unix.S_IFCHR
	case "b":
		dev.Mode |= unix.S_IFBLK
	case "p":
		dev.Mode |= unix.S_IFIFO
		return dev, true, nil
	default:
		return dev, false, errs.New(errs.InvalidArgument, "invalid device type %q of %s", d.Type, d.Path)
	}
	if d.Major < 0 || d.Minor < 0 {
		return dev, false, errs.New(errs.InvalidArgument, "device %s: negative number %d:%d", d.Path, d.Major, d.Minor)
	}
	return dev, false, nil
}
