package container

import (
	"fmt"
	"os"
	"syscall"

	"github.com/moby/moby/api/types/container"
	apimount "github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/userns"
)

// Containers of a daemon with mappings are in user namespaces of their own, unless
// they say host. What the daemon stores of them, layers and volumes, has the
// container's owners nevertheless: it is mounted with mapped ids, see ADR 9.

// checkUserns refuses what cannot be in a user namespace. The words are Docker's.
func (s *Service) checkUserns(h *container.HostConfig) error {
	if s.Remap.Empty() || h.UsernsMode.IsHost() {
		return nil
	}
	switch {
	case h.Privileged:
		return errs.New(errs.InvalidArgument, "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case h.NetworkMode.IsHost():
		return errs.New(errs.InvalidArgument, "cannot share the host's network namespace when user namespaces are enabled")
	case h.PidMode.IsHost():
		return errs.New(errs.InvalidArgument, "cannot share the host PID namespace when user namespaces are enabled")
	}
	return nil
}

// usersDonor is the container whose user namespace r shares, since it shares another
// namespace that belongs to it; nil if there is none, or both are in the machine's. To
// share those of containers in different user namespaces is not possible.
func (s *Service) usersDonor(r *record) (*record, error) {
	var donor *record
	for _, ref := range []string{r.Host.NetworkMode.ConnectedContainer(), r.Host.PidMode.Container(), r.Host.IpcMode.Container()} {
		if ref == "" {
			continue
		}
		o, err := s.donor(ref)
		if err != nil {
			continue // whoever joins says so
		}
		if mapped, err := s.joinsUsers(r, o); !mapped || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if donor == nil {
			donor = o
			continue
		}
		same, err := sameUsers(donor, o)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, errs.New(errs.Conflict, "cannot join namespaces of containers %s and %s: they are in different user namespaces", donor.Name, o.Name)
		}
	}
	return donor, nil
}

// joinsUsers tells whether r comes into a user namespace of the donor's own. What
// is in the machine's does not mix with what is not.
func (s *Service) joinsUsers(r, donor *record) (bool, error) {
	const text = "cannot join namespaces of container %s: it is in "
	mapped := donor.State.Remap != nil
	switch hosts := r.Host.UsernsMode.IsHost(); {
	case mapped && hosts:
		return false, errs.New(errs.Conflict, text+"a user namespace of its own, which this one cannot be in with --userns=host: start one of them without it, or both with it", donor.Name)
	case mapped && s.Remap.Empty():
		return false, errs.New(errs.Conflict, text+"a user namespace of its own, from before the daemon lost its userns-remap: restart it first", donor.Name)
	case !mapped && !hosts && !s.Remap.Empty():
		return false, errs.New(errs.Conflict, text+"the host's user namespace, which this one can be in with --userns=host", donor.Name)
	}
	return mapped, nil
}

func sameUsers(a, b *record) (bool, error) {
	var x, y unix.Stat_t
	for r, st := range map[*record]*unix.Stat_t{a: &x, b: &y} {
		if err := unix.Stat(r.namespace("user"), st); err != nil {
			return false, fmt.Errorf("find user namespace of container %s: %w", r.ID, err)
		}
	}
	return x.Dev == y.Dev && x.Ino == y.Ino, nil
}

// users says where a container's network namespace is to belong, and which ids its
// run has; nil: those of the machine. close gives up what is open.
func (s *Service) users(r *record) (u engine.Users, ids *user.IdentityMapping, close func(), err error) {
	close = func() {}
	if err := s.checkUserns(r.Host); err != nil { // the daemon may have had no mappings at create
		return u, nil, nil, err
	}
	donor, err := s.usersDonor(r)
	if err != nil {
		return u, nil, nil, err
	}
	if s.Remap.Empty() || r.Host.UsernsMode.IsHost() {
		return u, nil, close, nil
	}
	if donor == nil {
		return engine.Users{Mapped: true}, &s.Remap, close, nil
	}
	file, err := os.Open(donor.namespace("user"))
	if err != nil {
		return u, nil, nil, fmt.Errorf("find user namespace of container %s: %w", donor.ID, err)
	}
	return engine.Users{In: file}, donor.State.Remap, func() { _ = file.Close() }, nil // only a handle
}

// NewMappedNamespace makes an empty network namespace in a user namespace with the
// mappings.
func NewMappedNamespace(ids user.IdentityMapping) (*os.File, error) {
	return userns.NewWithNet(kernelIDs(ids.UIDMaps), kernelIDs(ids.GIDMaps))
}

func kernelIDs(ids []user.IDMap) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(ids))
	for i, m := range ids {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.ID), HostID: int(m.ParentID), Size: int(m.Count)}
	}
	return out
}

func specIDs(ids []user.IDMap) []specs.LinuxIDMapping {
	out := make([]specs.LinuxIDMapping, len(ids))
	for i, m := range ids {
		out[i] = specs.LinuxIDMapping{ContainerID: uint32(m.ID), HostID: uint32(m.ParentID), Size: uint32(m.Count)}
	}
	return out
}

// idmap is the option of mounts whose ids are mapped as the container's are.
const idmap = "idmap"

// ours tells whether what is mounted is the daemon's own, so that its files have the
// container's owners. A volume that shows something else, by its options, is not.
func (m *mountPoint) ours() (bool, error) {
	switch m.Type {
	case apimount.TypeImage:
		return true, nil
	case apimount.TypeVolume:
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, m.Source, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
			return false, fmt.Errorf("look at volume %s: %w", m.Name, err)
		}
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0, nil
	}
	return false, nil
}

// findMapped marks the mounts whose ids are to be mapped.
func (r *record) findMapped(ids *user.IdentityMapping) error {
	if ids == nil {
		return nil
	}
	ms := make([]mountPoint, len(r.Mounts)) // views share the old ones
	copy(ms, r.Mounts)
	for i := range ms {
		var err error
		if ms[i].mapped, err = ms[i].ours(); err != nil {
			return err
		}
	}
	r.Mounts = ms
	return nil
}

// remap puts a container into its user namespace.
func (p *plan) remap(sp *specs.Spec) {
	if p.ids == nil {
		return
	}
	l := sp.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: p.joined["user"]})
	l.UIDMappings, l.GIDMappings = specIDs(p.ids.UIDMaps), specIDs(p.ids.GIDMaps)
	// Nobody makes devices there: the runtime takes the machine's of the same path.
	l.Devices = nil
	for _, d := range p.devices {
		if d.Path == d.host {
			l.Devices = append(l.Devices, d.LinuxDevice)
			continue
		}
		sp.Mounts = append(sp.Mounts, specs.Mount{Destination: d.Path, Type: "bind", Source: d.host, Options: []string{"bind", "nosuid", "noexec"}})
	}
}

// pingGroups is the range of groups that may ping: in a user namespace, those it has.
func (p *plan) pingGroups() string {
	if p.ids == nil {
		return "0 2147483647"
	}
	return fmt.Sprintf("0 %d", p.ids.GIDMaps[0].Count-1)
}
