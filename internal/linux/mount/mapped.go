package mount

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/process"
)

// IDs are the mappings for a mount's owners of files.
type IDs struct {
	Users    int // the user namespace that has the mappings
	UID, GID int // what 0 is mapped to, -1: nothing
}

// MappedOverlay makes an overlay whose layers' ids are mapped, as an overlay as a
// whole cannot be: what is on disk is the same as without a mapping. The overlay is
// on the directory handle target, in the mount namespace of the calling thread,
// which must be its own and end with it. Layers on a filesystem that cannot map ids,
// and kernels before 5.19, give errs.Unsupported.
func MappedOverlay(target int, source string, o Options, ids IDs) (*Detached, error) {
	m := mapping{target: target, ids: ids}
	defer m.close()
	if ids.UID < 0 || ids.GID < 0 {
		return nil, errs.New(errs.InvalidArgument, "map ids of overlay: 0 is not mapped, so nobody can own what the overlay makes")
	}
	var err error
	if o.Data, err = m.layers(o.Data); err != nil {
		return nil, err
	}
	// What the overlay makes in its own name has an owner that the mapping knows.
	if err := process.OwnFiles(ids.UID, ids.GID); err != nil {
		return nil, err
	}
	return NewAt(target, "overlay", source, o)
}

// mapping is the making of one overlay.
type mapping struct {
	target int
	ids    IDs
	held   []*Detached
}

func (m *mapping) close() {
	for _, d := range m.held {
		d.Close()
	}
}

// layers replaces the directories in an overlay's options by mapped ones.
func (m *mapping) layers(data []string) (mapped []string, err error) {
	var upper, work string
	for _, option := range data {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			upper = value
		case "workdir":
			work = value
		case "lowerdir", "lowerdir+":
			list := []string{value}
			if key == "lowerdir" {
				list = strings.Split(value, ":")
			}
			for i := range list {
				if list[i], err = m.layer(list[i]); err != nil {
					return nil, err
				}
			}
			mapped = append(mapped, key+"="+strings.Join(list, ":"))
		default:
			mapped = append(mapped, option)
		}
	}
	if upper == "" {
		return mapped, nil
	}
	// Both must be on one mount.
	if path.Dir(upper) != path.Dir(work) {
		return nil, errs.New(errs.Unsupported, "map ids of overlay: upperdir %s and workdir %s are not in one directory", upper, work)
	}
	both, err := m.layer(path.Dir(upper))
	if err != nil {
		return nil, err
	}
	return append(mapped, "upperdir="+path.Join(both, path.Base(upper)), "workdir="+path.Join(both, path.Base(work))), nil
}

// layer gives a name for a directory of which the ids are mapped. It lies over the
// target: before Linux 6.15 only mounts in the caller's namespace can be layers.
func (m *mapping) layer(dir string) (string, error) {
	d, err := Clone(unix.AT_FDCWD, dir, false)
	if err != nil {
		return "", fmt.Errorf("layer %s: %w", dir, err)
	}
	m.held = append(m.held, d)
	if err := d.SetAttr(Attr{Propagation: unix.MS_PRIVATE}, false); err != nil {
		return "", err
	}
	if err := d.MapIDs(m.ids.Users, false); err != nil {
		return "", fmt.Errorf("layer %s: %w", dir, err)
	}
	if err := d.Attach(m.target); err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d", d.fd), nil
}
