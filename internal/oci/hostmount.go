package oci

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/userns"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// hostMounts makes the mounts that the container cannot make: those whose ids are
// mapped, those from another mount namespace and, for an init in a user namespace, which may have no rights there, the
// root filesystem and everything else that comes from the machine. first is the
// number that the first one gets in init; with onThread they are used from here.
// The descriptors are the caller's.
func (job *creation) hostMounts(j *joined, first int, onThread bool) (all []int, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	root, prepare := job.plan.Root, job.plan.UserNS && mayMount()
	keep := func(h int) int {
		all = append(all, h)
		if onThread {
			return h
		}
		return first + len(all) - 1
	}
	m := mapper{job: job, joined: j, own: -1}
	defer m.close()
	if prepare {
		h, place := -1, -1
		ids, err := m.ofRoot()
		if err != nil {
			return all, err
		}
		err = j.inMounts(func() (err error) {
			if root.Shared {
				h, place, err = boot.PrepareSharedRoot(root)
			} else {
				h, err = boot.PrepareRoot(root, ids)
			}
			return err
		})
		if err != nil {
			return all, err
		}
		if root.FD = keep(h); root.Shared {
			root.PlaceFD = keep(place)
		}
	}
	for i := range root.Targets {
		t := &root.Targets[i]
		if !t.Options.IDMap && (!t.Options.Bind || !prepare && t.Options.Namespace == "") {
			continue
		}
		h, err := m.mount(t, job.spec.Mounts[i])
		if err != nil {
			return all, err
		}
		t.FD = keep(h)
	}
	return all, nil
}

// mapper makes mounts for a container, with ids that are mapped if asked for.
type mapper struct {
	job    *creation
	joined *joined
	own    int // a user namespace with the container's own mappings, once it was needed; else -1
}

func (m *mapper) close() { fd.Close(m.own) }

// mount makes one mount. The descriptor is the caller's.
func (m *mapper) mount(t *plan.Mount, spec specs.Mount) (int, error) {
	root, h := m.job.plan.Root, -1
	ids, done := mount.IDs{Users: -1}, func() {}
	if t.Options.IDMap {
		var err error
		if ids, done, err = m.ids(spec); err != nil {
			return -1, fmt.Errorf("map ids of mount %s: %w", t.Target, err)
		}
	}
	defer done()
	err := m.joined.inMounts(func() (err error) {
		if t.Options.Bind {
			h, err = boot.PrepareBind(root, *t, ids.Users)
		} else {
			h, err = boot.PrepareOverlay(root, *t, ids)
		}
		return err
	})
	return h, err
}

// ofRoot gives the mappings of what the root filesystem is made of, if it is to
// have any.
func (m *mapper) ofRoot() (mount.IDs, error) {
	if !m.job.plan.Root.MapsIDs() {
		return mount.IDs{}, nil
	}
	ids, _, err := m.ids(specs.Mount{})
	if err != nil {
		return ids, fmt.Errorf("map ids of root filesystem: %w", err)
	}
	return ids, nil
}

// ids gives the mappings that a mount is to have: its own, or else the container's.
// done gives them up.
func (m *mapper) ids(spec specs.Mount) (ids mount.IDs, done func(), err error) {
	if !mayMount() {
		return ids, nil, errs.New(errs.Unsupported, "an ordinary user cannot do that")
	}
	done = func() {}
	uids, gids := spec.UIDMappings, spec.GIDMappings
	if len(uids) > 0 {
		ids.Users, err = newUserNS(uids, gids)
		done = func() { fd.Close(ids.Users) }
	} else {
		uids, gids = m.job.spec.Linux.UIDMappings, m.job.spec.Linux.GIDMappings
		ids.Users, err = m.users()
	}
	if err != nil {
		return ids, nil, err
	}
	// Of a user namespace that is joined this may be unknown; only overlays need it.
	ids.UID, ids.GID = hostID(uids), hostID(gids)
	return ids, done, nil
}

// hostID is what 0 is mapped to, -1 if it is not.
func hostID(list []specs.LinuxIDMapping) int {
	for _, m := range list {
		if m.ContainerID == 0 && m.Size > 0 {
			return int(m.HostID)
		}
	}
	return -1
}

// users is a user namespace with the container's mappings, which stays m's.
func (m *mapper) users() (_ int, err error) {
	if h := m.joined.of(unix.CLONE_NEWUSER); h >= 0 {
		return h, nil
	}
	if m.own < 0 {
		m.own, err = newUserNS(m.job.spec.Linux.UIDMappings, m.job.spec.Linux.GIDMappings)
	}
	return m.own, err
}

func newUserNS(uids, gids []specs.LinuxIDMapping) (int, error) {
	file, err := userns.New(idMap(uids), idMap(gids))
	if err != nil {
		return -1, err
	}
	defer file.Close() //nolint:errcheck // only a handle
	return fd.Duplicate(int(file.Fd()))
}
