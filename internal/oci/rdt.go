package oci

import (
	"context"

	"github.com/gantry-run/gantry/internal/cleanup"
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
