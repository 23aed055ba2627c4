package container

import (
	"path"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// cgroupPath places a container: a fixed parent and the ID, so that two daemons
// with the same parent still never meet.
func (d *Defaults) cgroupPath(parent, id string) string {
	if parent == "" {
		parent = d.CgroupParent
	}
	if d.SystemdCgroup {
		// Docker's name for the scope, by which tools find it.
		return parent + ":docker:" + id
	}
	return path.Join("/", parent, id)
}

// checkCgroupParent refuses what systemd could not make a container's parent.
func (d *Defaults) checkCgroupParent(parent string) error {
	if d.SystemdCgroup && parent != "" && !cgroup.ValidSlice(parent) {
		return errs.New(errs.InvalidArgument, `cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`)
	}
	return nil
}
