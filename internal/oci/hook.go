package oci

import (
	"context"
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// runtimeHooks runs the hooks that belong between the making of the namespaces
// and pivot_root: prestart first, as it is the older. One that fails ends the
// creation.
func (c *Container) runtimeHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	//lint:ignore SA1019 bundles in the field still use prestart
	if err := c.runHooks("prestart", plan.Hooks(h.Prestart), specs.StateCreating); err != nil {
		return err
	}
	return c.runHooks("createRuntime", plan.Hooks(h.CreateRuntime), specs.StateCreating)
}

func (c *Container) runHooks(point string, hooks []plan.Hook, status specs.ContainerState) error {
	if len(hooks) == 0 {
		return nil
	}
	state, err := json.Marshal(c.specState(status))
	if err != nil {
		return fmt.Errorf("encode container state: %w", err)
	}
	for i, h := range hooks {
		// On a thread made for forking, whose timers the hook shall have.
		err := ns.OnThread(func() error { return process.RunHook(h.Path, h.Args, h.Env, state, h.Timeout) })
		if err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", point, i, err)
		}
	}
	return nil
}

// runHostHooks runs hooks whose failure changes nothing any more; it is logged.
func (c *Container) runHostHooks(_ context.Context, point string, hooks []plan.Hook, status specs.ContainerState) {
	for i := range hooks {
		if err := c.runHooks(point, hooks[i:i+1], status); err != nil {
			c.rt.log.Warn("container hook", "container", c.id, "error", err)
		}
	}
}
