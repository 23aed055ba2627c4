package container

import (
	"fmt"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

// pinModes replaces the names of the containers to join by their IDs, so that
// neither a new name nor another container with the old one changes a thing.
func (s *Service) pinModes(h *container.HostConfig) error {
	id := func(ref string, set func(mode string)) error {
		if ref == "" {
			return nil
		}
		c, err := s.find(ref)
		if err != nil {
			return badReference(err)
		}
		set("container:" + c.view().ID)
		return nil
	}
	if err := id(h.NetworkMode.ConnectedContainer(), func(m string) { h.NetworkMode = container.NetworkMode(m) }); err != nil {
		return err
	}
	if err := id(h.PidMode.Container(), func(m string) { h.PidMode = container.PidMode(m) }); err != nil {
		return err
	}
	return id(h.IpcMode.Container(), func(m string) { h.IpcMode = container.IpcMode(m) })
}

// joinedNamespaces resolves container:X modes to the files of the namespaces of
// X's init. "shm" is the mount namespace with the /dev/shm that belongs to "ipc".
func (s *Service) joinedNamespaces(r *record) (map[string]string, error) {
	joined := map[string]string{}
	if ref := r.Host.NetworkMode.ConnectedContainer(); ref != "" {
		o, err := s.networkDonor(ref)
		if err != nil {
			return nil, err
		}
		// Containers that share a network share its host name, too.
		joined["network"], joined["uts"] = o.namespace("net"), o.namespace("uts")
	}
	donor, err := s.usersDonor(r)
	if err != nil {
		return nil, err
	}
	if donor != nil {
		joined["user"] = donor.namespace("user")
	}
	if ref := r.Host.PidMode.Container(); ref != "" {
		o, err := s.donor(ref)
		if err != nil {
			return nil, errs.New(errs.Internal, "failed to join PID namespace: %w", err)
		}
		joined["pid"] = o.namespace("pid")
	}
	if ref := r.Host.IpcMode.Container(); ref != "" {
		o, err := s.ipcDonor(ref)
		if err != nil {
			return nil, errs.New(errs.KindOf(err), "failed to join IPC namespace: %w", err)
		}
		joined["ipc"], joined["shm"] = o.namespace("ipc"), o.namespace("mnt")
	}
	return joined, nil
}

// donor finds a running container whose namespaces another one joins. The kinds
// and words of the errors here are Docker's.
func (s *Service) donor(ref string) (*record, error) {
	c, err := s.find(ref)
	if err != nil {
		return nil, badReference(err)
	}
	r := c.view()
	if !r.State.running() {
		return nil, errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	return &r, nil
}

func (s *Service) networkDonor(ref string) (*record, error) {
	c, err := s.find(ref)
	if err != nil {
		return nil, errs.New(errs.Internal, "joining network namespace of container: %w", err)
	}
	r := c.view()
	if !r.State.running() {
		return nil, errs.New(errs.Conflict, "cannot join network namespace of a non running container: container %s is %s", r.Name, r.State.Status)
	}
	return &r, nil
}

func (s *Service) ipcDonor(ref string) (*record, error) {
	r, err := s.donor(ref)
	if err != nil {
		return nil, err
	}
	if m := r.Host.IpcMode; m.IsPrivate() || m.IsNone() {
		return nil, errs.New(errs.InvalidArgument, "container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", r.ID)
	}
	return r, nil
}

// namespace is the file of a namespace of the container's init.
func (r *record) namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", r.State.Pid, kind)
}
