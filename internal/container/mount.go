package container

import (
	"cmp"
	"context"
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/errs"
)

// mountPoint is one mount of a container beyond the standard ones.
type mountPoint struct {
	Type        mount.Type
	Name        string `json:",omitempty"` // volume
	Driver      string `json:",omitempty"`
	Source      string `json:",omitempty"` // host path
	Destination string
	Mode        string `json:",omitempty"` // the options as the user wrote them
	RW          bool
	Propagation mount.Propagation `json:",omitempty"`

	Anonymous    bool                `json:",omitempty"` // removed with the container
	NoCopy       bool                `json:",omitempty"`
	CreateSource bool                `json:",omitempty"` // -v makes a missing host directory
	NonRecursive bool                `json:",omitempty"`
	ReadOnlyFlat bool                `json:",omitempty"` // submounts stay writable
	ReadOnlyDeep bool                `json:",omitempty"` // fail unless all submounts become read-only
	Subpath      string              `json:",omitempty"`
	DriverOpts   map[string]string   `json:",omitempty"`
	VolumeLabels map[string]string   `json:",omitempty"`
	ImageID      string              `json:",omitempty"` // of an image mount
	Tmpfs        *mount.TmpfsOptions `json:",omitempty"`
	TmpfsOpts    string              `json:",omitempty"` // --tmpfs PATH:OPTS

	overlay []string // options of an image mount, found at each start
	mapped  bool     // its ids are mapped as the container's; found at each start
}

// planMounts merges every source of mounts in Docker's order of precedence:
// --mount and -v beat --volumes-from, which beats anonymous volumes of the
// configuration. Pure but for the volumes-from look-up.
func planMounts(cfg *container.Config, host *container.HostConfig, from func(ref string) ([]mountPoint, error)) ([]mountPoint, error) {
	var all []mountPoint
	add := func(m mountPoint) error {
		if slices.ContainsFunc(all, func(o mountPoint) bool { return o.Destination == m.Destination }) {
			return errs.New(errs.InvalidArgument, "Duplicate mount point: %s", m.Destination)
		}
		all = append(all, m)
		return nil
	}
	for _, b := range host.Binds {
		m, err := parseBind(b, host.VolumeDriver)
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range host.Mounts {
		m, err := fromMount(&host.Mounts[i])
		if err == nil {
			err = add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	for dest, opts := range host.Tmpfs {
		if path.Clean(dest) == "/" {
			return nil, errs.New(errs.InvalidArgument, "invalid specification: destination can't be '/'")
		}
		if !path.IsAbs(dest) {
			return nil, errs.New(errs.InvalidArgument, "invalid mount path: '%s' mount path must be absolute", dest)
		}
		if err := checkTmpfs(opts); err != nil {
			return nil, err
		}
		if err := add(mountPoint{Type: mount.TypeTmpfs, Destination: path.Clean(dest), RW: true, TmpfsOpts: opts}); err != nil {
			return nil, err
		}
	}
	taken := func(dest string) bool {
		return slices.ContainsFunc(all, func(o mountPoint) bool { return o.Destination == dest })
	}
	for _, ref := range host.VolumesFrom {
		inherited, err := volumesFrom(ref, from)
		if err != nil {
			return nil, err
		}
		for _, m := range inherited {
			if !taken(m.Destination) {
				all = append(all, m)
			}
		}
	}
	for dest := range cfg.Volumes {
		dest = path.Clean(dest)
		if !path.IsAbs(dest) || dest == "/" {
			return nil, errs.New(errs.InvalidArgument, "invalid volume specification: '%s'", dest)
		}
		if !taken(dest) {
			all = append(all, mountPoint{Type: mount.TypeVolume, Destination: dest, RW: true, Anonymous: true, Driver: host.VolumeDriver})
		}
	}
	slices.SortFunc(all, func(a, b mountPoint) int { return strings.Compare(a.Destination, b.Destination) })
	return all, nil
}

func volumesFrom(ref string, from func(string) ([]mountPoint, error)) ([]mountPoint, error) {
	if ref == "" {
		return nil, errs.New(errs.InvalidArgument, "volumes-from specification cannot be an empty string")
	}
	id, mode, ok := strings.Cut(ref, ":")
	o, valid := parseMode(mode)
	if ok && (!valid || o.nocopy || o.propagation != "") {
		return nil, errs.New(errs.InvalidArgument, "invalid mode: %s", mode)
	}
	ms, err := from(id)
	if err != nil {
		return nil, err
	}
	out := make([]mountPoint, 0, len(ms))
	for _, m := range ms {
		if m.Type == mount.TypeTmpfs { // the other container's alone
			continue
		}
		m.RW, m.Mode = m.RW && !o.readOnly, ""
		m.Anonymous = false // it belongs to the other container
		out = append(out, m)
	}
	return out, nil
}

var propagations = []mount.Propagation{
	mount.PropagationPrivate, mount.PropagationRPrivate, mount.PropagationShared,
	mount.PropagationRShared, mount.PropagationSlave, mount.PropagationRSlave,
}

// parseBind parses one -v value: [SOURCE:]DESTINATION[:OPTIONS].
func parseBind(spec, driver string) (mountPoint, error) {
	bad := func(format string, args ...any) (mountPoint, error) {
		return mountPoint{}, errs.New(errs.InvalidArgument, "invalid volume specification: '%s'"+format, append([]any{spec}, args...)...)
	}
	parts := strings.Split(spec, ":")
	m := mountPoint{Type: mount.TypeVolume, RW: true, Driver: driver}
	var o modeOptions
	switch len(parts) {
	case 1:
		m.Destination, m.Anonymous = parts[0], true
	case 2, 3:
		m.Source, m.Destination = parts[0], parts[1]
		if _, isMode := parseMode(m.Destination); isMode || m.Source == "" {
			return bad("")
		}
		if len(parts) == 3 {
			var ok bool
			if o, ok = parseMode(parts[2]); !ok {
				return mountPoint{}, errs.New(errs.InvalidArgument, "invalid mode: %s", parts[2])
			}
			m.Mode = parts[2]
		}
	default:
		return bad("")
	}
	m.Destination = path.Clean(m.Destination)
	if path.IsAbs(m.Source) {
		m.Type, m.CreateSource, m.Driver = mount.TypeBind, true, ""
		m.Source = path.Clean(m.Source)
	} else if !m.Anonymous {
		m.Name, m.Source = m.Source, ""
	}
	const config = ": invalid mount config for type %q: "
	switch {
	case !path.IsAbs(m.Destination):
		return bad(config+"invalid mount path: '%s' mount path must be absolute", m.Type, m.Destination)
	case m.Destination == "/":
		return bad(config+"invalid specification: destination can't be '/'", m.Type)
	case m.Type == mount.TypeBind && o.nocopy:
		return bad(config+"field VolumeOptions must not be specified", m.Type)
	case m.Type == mount.TypeVolume && o.propagation != "":
		return bad(config+"field BindOptions must not be specified", m.Type)
	}
	m.RW, m.NoCopy, m.Propagation = !o.readOnly, o.nocopy, o.propagation
	m.labelMode()
	return m, nil
}

// labelMode shows volumes without a mode as shared between labels, as Docker does.
func (m *mountPoint) labelMode() {
	if m.Type == mount.TypeVolume && m.Mode == "" {
		m.Mode = "z"
	}
}

// modeOptions are the options of -v and --volumes-from.
type modeOptions struct {
	readOnly, nocopy bool
	propagation      mount.Propagation
}

// modeKinds are the options by what they are about; one of each kind may be given.
// For labels see Service.relabel; the consistencies are Docker Desktop's and have no effect on Linux.
var modeKinds = map[string]string{
	"rw": "access", "ro": "access", "z": "label", "Z": "label", "nocopy": "copy",
	"consistent": "consistency", "cached": "consistency", "delegated": "consistency",
	"private": "propagation", "rprivate": "propagation", "shared": "propagation",
	"rshared": "propagation", "slave": "propagation", "rslave": "propagation",
}

// parseMode tells whether text is a list of options, and what they say.
func parseMode(text string) (o modeOptions, ok bool) {
	seen := map[string]bool{}
	for opt := range strings.SplitSeq(text, ",") {
		kind := modeKinds[opt]
		if kind == "" || seen[kind] {
			return o, false
		}
		seen[kind] = true
		switch {
		case kind == "propagation":
			o.propagation = mount.Propagation(opt)
		case opt == "ro":
			o.readOnly = true
		case opt == "nocopy":
			o.nocopy = true
		}
	}
	return o, true
}

// fromMount converts one --mount.
func fromMount(in *mount.Mount) (mountPoint, error) {
	bad := func(format string, args ...any) (mountPoint, error) {
		return mountPoint{}, errs.New(errs.InvalidArgument, "invalid mount config for type %q: "+format, append([]any{in.Type}, args...)...)
	}
	m := mountPoint{Type: in.Type, Destination: path.Clean(in.Target), RW: !in.ReadOnly}
	if in.Target == "" {
		return bad("field Target must not be empty")
	}
	if !path.IsAbs(in.Target) {
		return bad("invalid mount path: '%s' mount path must be absolute", in.Target)
	}
	if m.Destination == "/" {
		return bad("invalid specification: destination can't be '/'")
	}
	switch in.Type {
	case mount.TypeBind:
		if in.Source == "" {
			return bad("field Source must not be empty")
		}
		if !path.IsAbs(in.Source) {
			return bad("invalid mount path: '%s' mount path must be absolute", in.Source)
		}
		m.Source = path.Clean(in.Source)
		if o := in.BindOptions; o != nil {
			m.Propagation = o.Propagation
			m.NonRecursive, m.CreateSource = o.NonRecursive, o.CreateMountpoint
			m.ReadOnlyFlat, m.ReadOnlyDeep = o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive
		}
		if m.Propagation != "" && !slices.Contains(propagations, m.Propagation) {
			return bad("invalid propagation mode: %s", m.Propagation)
		}
	case mount.TypeVolume:
		m.Name, m.Anonymous = in.Source, in.Source == ""
		if o := in.VolumeOptions; o != nil {
			m.NoCopy, m.Subpath, m.VolumeLabels = o.NoCopy, o.Subpath, o.Labels
			if o.DriverConfig != nil {
				m.Driver, m.DriverOpts = o.DriverConfig.Name, o.DriverConfig.Options
			}
		}
		m.labelMode()
	case mount.TypeTmpfs:
		if in.Source != "" {
			return bad("field Source must not be specified")
		}
		if in.ImageOptions != nil {
			return bad("field ImageOptions must not be specified")
		}
		if err := checkTmpfsMount(in.TmpfsOptions); err != nil {
			return bad("%w", err)
		}
		m.Tmpfs = cmp.Or(in.TmpfsOptions, &mount.TmpfsOptions{}) // unlike that of --tmpfs
	case mount.TypeImage:
		if in.Source == "" {
			return bad("field Source must not be empty")
		}
		if o := in.ImageOptions; o != nil && o.Subpath != "" {
			m.Subpath = o.Subpath
		}
		m.Name, m.RW, m.Propagation = in.Source, false, mount.PropagationRPrivate
	default:
		return bad("mount type unknown")
	}
	if m.Subpath != "" && !filepath.IsLocal(m.Subpath) {
		return bad("subpath must be a relative path within the volume")
	}
	return m, nil
}

// ensureVolumes creates the volumes of a new container and fills in names and
// host paths. fresh gives the indices of those that want the image's content.
func (s *Service) ensureVolumes(ctx context.Context, c *ctr) (fresh []int, err error) {
	for i, m := range c.rec.Mounts {
		if m.Type != mount.TypeVolume || m.Source != "" {
			continue // inherited volumes have their path already
		}
		ref, err := s.Volumes.Ensure(ctx, m.Name, m.Driver, m.VolumeLabels, m.DriverOpts)
		if err != nil {
			return nil, err
		}
		m.Name, m.Driver, m.Source = ref.Name, ref.Driver, ref.Path
		if ref.Fresh && !m.NoCopy && m.Subpath == "" {
			fresh = append(fresh, i)
		}
		c.mu.Lock()
		c.rec.Mounts = slices.Clone(c.rec.Mounts) // views share the old one
		c.rec.Mounts[i] = m
		c.mu.Unlock()
	}
	return fresh, nil
}

// mountVolumes makes the volumes with driver options appear, for the time of a run.
func (s *Service) mountVolumes(ctx context.Context, r *record) error {
	for _, m := range r.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if _, err := s.Volumes.Mount(ctx, m.Name, r.ID); err != nil {
			return errors.Join(err, s.unmountVolumes(ctx, r))
		}
		s.Events.Publish(events.VolumeEventType, events.ActionMount, m.Name, map[string]string{
			"container": r.ID, "destination": m.Destination, "driver": m.driver(), "propagation": string(m.Propagation), "read/write": strconv.FormatBool(m.RW),
		})
	}
	return nil
}

// unmountVolumes is the reverse of mountVolumes; idempotent.
func (s *Service) unmountVolumes(ctx context.Context, r *record) error {
	var all error
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		all = errors.Join(all, s.Volumes.Unmount(ctx, m.Name, r.ID))
		s.Events.Publish(events.VolumeEventType, events.ActionUnmount, m.Name, map[string]string{"container": r.ID, "driver": m.driver()})
	}
	return all
}

func (m *mountPoint) driver() string { return cmp.Or(m.Driver, "local") }

// apiMounts gives the mounts as inspect and list show them.
func apiMounts(ms []mountPoint) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(ms))
	for _, m := range ms {
		if m.Type == mount.TypeTmpfs && m.Tmpfs == nil {
			continue // --tmpfs is shown in HostConfig only, as Docker does
		}
		out = append(out, container.MountPoint{
			Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver,
			Mode: m.Mode, RW: m.RW, Propagation: m.Propagation,
		})
	}
	return out
}
