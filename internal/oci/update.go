package oci

import (
	"context"
	"os"

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
	var devices []cgroup.DeviceRule
	if r != nil && len(r.Devices) > 0 {
		if devices, err = c.deviceRules(r); err != nil {
			return err
		}
	}
	if err := c.setLimits(limits); err != nil {
		return err
	}
	if len(devices) == 0 {
		return nil
	}
	return group.AllowDevices(devices)
}

// deviceRules are the rules for a group that can have them; an ordinary user's has none.
func (c *Container) deviceRules(r *specs.LinuxResources) ([]cgroup.DeviceRule, error) {
	rules, err := buildDeviceRules(r)
	if err == nil && !c.rt.rootless() {
		err = c.state.Cgroup.CheckDevices(rules)
	}
	return rules, err
}

// setLimits sets limits. One of processes takes the place of what start would set,
// and is left to it in turn while init could not live with it.
func (c *Container) setLimits(limits *cgroup.Resources) error {
	pids := limits.PidsLimit
	if pids == nil || c.latePids() == nil {
		return c.state.Cgroup.Set(limits)
	}
	var late *int64
	if isTight(pids) {
		late = pids
	}
	_, err := os.Lstat(c.file(startSocket))
	if waits := err == nil; waits && late != nil {
		now := *limits
		now.PidsLimit = nil
		limits = &now
	}
	if err := c.state.Cgroup.Set(limits); err != nil {
		return err
	}
	c.mu.Lock()
	c.state.LatePids = late
	c.mu.Unlock()
	return c.writeState()
}

// Stats reads the container's cgroup statistics.
func (c *Container) Stats() (*cgroup.Stats, error) { return c.state.Cgroup.Stats() }

// Cgroup is the container's control group.
func (c *Container) Cgroup() cgroup.Group { return c.state.Cgroup }
