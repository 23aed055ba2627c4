package oci

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/linux/cgroup"
)

// Update changes the limits of a container; what r leaves out stays as it is.
// Devices are changed only if r has rules for them.
func (c *Container) Update(_ context.Context, r *specs.LinuxResources) error {
	if err := c.requireStatus("update", specs.StateRunning, specs.StateCreated, statusPaused); err != nil {
		return err
	}
	group := c.state.Cgroup
	limits, err := buildResources(r, group.V2())
	if err != nil {
		return err
	}
	if err := group.Set(limits); err != nil {
		return err
	}
	if r == nil || len(r.Devices) == 0 {
		return nil
	}
	rules, err := buildDeviceRules(r)
	if err != nil {
		return err
	}
	return group.AllowDevices(rules)
}

// Stats reads the container's cgroup statistics.
func (c *Container) Stats() (*cgroup.Stats, error) { return c.state.Cgroup.Stats() }

// Cgroup is the container's control group.
func (c *Container) Cgroup() cgroup.Group { return c.state.Cgroup }
