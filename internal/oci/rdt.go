package oci

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/resctrl"
)

// planRdt finds out to which resctrl group the container belongs; nil for none.
func (r *Runtime) planRdt(id string, job *creation) (*resctrl.Group, error) {
	if job.spec.Linux == nil || job.spec.Linux.IntelRdt == nil {
		return nil, nil
	}
	root := r.resctrl
	if root == "" {
		var err error
		if root, err = resctrl.Find(); err != nil {
			return nil, err
		}
	}
	group, err := resctrl.Plan(root, id, job.spec.Linux.IntelRdt)
	return &group, err
}

// enterRdt puts init, which waits for its orders, into its resctrl group.
func (c *Container) enterRdt(job *creation, pid int, undo *cleanup.Stack) error {
	group := c.state.Resctrl
	if group == nil {
		return nil
	}
	remove, err := group.SetUp(job.spec.Linux.IntelRdt)
	if err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return remove() })
	return group.Add(pid)
}

// UpdateRdt writes other schemata for the resctrl group of a container, which must
// be in one.
func (c *Container) UpdateRdt(rdt *specs.LinuxIntelRdt) error {
	if err := c.requireStatus("update", specs.StateRunning, specs.StateCreated, statusPaused); err != nil {
		return err
	}
	if c.state.Resctrl == nil {
		return errs.New(errs.Conflict, "intelRdt: the container is in no resctrl group")
	}
	return c.state.Resctrl.Update(rdt)
}
