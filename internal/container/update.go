package container

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Update changes limits, the restart policy and what follows from bad health, of a
// running container at once.
func (s *Service) Update(ctx context.Context, id string, u engine.ContainerUpdate) (container.UpdateResponse, error) {
	var resp container.UpdateResponse
	c, err := s.find(id)
	if err != nil {
		return resp, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	h := *r.Host
	warnings := discardUnsupported(&u.Resources, thisMachine())
	if err := checkResources(&u.Resources, thisMachine(), true); err != nil {
		return resp, err
	}
	resp.Warnings = warnings
	if err := mergeResources(&h.Resources, &u.Resources); err != nil {
		return resp, errs.New(errs.Conflict, "Cannot update container %s: %w", r.ID, err)
	}
	if u.RestartPolicy.Name != "" {
		if h.AutoRemove && !u.RestartPolicy.IsNone() {
			return resp, errs.New(errs.Conflict, "Cannot update container %s: Restart policy cannot be updated because AutoRemove is enabled for the container", r.ID)
		}
		h.RestartPolicy = u.RestartPolicy
	}
	if h.Annotations, err = mergeAnnotations(h.Annotations, u.Annotations); err != nil {
		return resp, err
	}
	if _, err := validate(r.Config, &h, thisMachine(), true); err != nil {
		return resp, err
	}
	back := func(now *record) { now.Host = r.Host }
	if err := s.update(c, func(now *record) { now.Host = &h }); err != nil {
		c.mu.Lock()
		back(&c.rec)
		c.mu.Unlock()
		return resp, err
	}
	if r.State.running() {
		err := s.applyResources(ctx, r.ID, &h)
		if err != nil && !errs.Is(err, errs.Conflict) { // it has just ended: the next run has them
			return resp, errors.Join(err, s.update(c, back))
		}
	}
	s.publish(&r, events.ActionUpdate)
	return resp, nil
}

// applyResources gives a running container new limits.
func (s *Service) applyResources(ctx context.Context, id string, h *container.HostConfig) error {
	res, err := resources(h)
	if err != nil {
		return err
	}
	data, err := json.Marshal(res)
	if err != nil {
		return err
	}
	if err := s.Supervisor.Update(ctx, id, data); err != nil {
		return errs.New(errs.KindOf(err), "Cannot update container %s: %w", id, err)
	}
	return nil
}

// mergeAnnotations takes over those that mean something to a container that runs.
func mergeAnnotations(have, change map[string]string) (map[string]string, error) {
	for key := range change {
		if key != OnFailure {
			return nil, errs.New(errs.InvalidArgument, "annotation %q cannot be changed by an update", key)
		}
	}
	return mergeMap(have, change), nil
}

// mergeResources takes over what the request sets; zero means unchanged.
func mergeResources(to, from *container.Resources) error {
	if err := contradicts(to, from); err != nil {
		return err
	}
	setInt := func(dst *int64, v int64) {
		if v != 0 {
			*dst = v
		}
	}
	setInt(&to.CPUShares, from.CPUShares)
	setInt(&to.CPUPeriod, from.CPUPeriod)
	setInt(&to.CPUQuota, from.CPUQuota)
	setInt(&to.CPURealtimePeriod, from.CPURealtimePeriod)
	setInt(&to.CPURealtimeRuntime, from.CPURealtimeRuntime)
	setInt(&to.NanoCPUs, from.NanoCPUs)
	setInt(&to.MemoryReservation, from.MemoryReservation)
	if from.Memory != 0 {
		to.Memory = from.Memory
		if to.MemorySwap == 0 {
			to.MemorySwap = 2 * from.Memory // as create does with a container's first limit
		}
	}
	setInt(&to.MemorySwap, from.MemorySwap)
	if from.CpusetCpus != "" {
		to.CpusetCpus = from.CpusetCpus
	}
	if from.CpusetMems != "" {
		to.CpusetMems = from.CpusetMems
	}
	if from.BlkioWeight != 0 {
		to.BlkioWeight = from.BlkioWeight
	}
	if from.PidsLimit != nil {
		to.PidsLimit = from.PidsLimit
	}
	return nil
}

// contradicts finds new limits that do not go with those that a container has.
func contradicts(have, from *container.Resources) error {
	switch {
	case from.NanoCPUs > 0 && have.CPUPeriod > 0:
		return errs.New(errs.Conflict, "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case from.NanoCPUs > 0 && have.CPUQuota > 0:
		return errs.New(errs.Conflict, "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case from.CPUPeriod > 0 && have.NanoCPUs > 0:
		return errs.New(errs.Conflict, "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case from.CPUQuota > 0 && have.NanoCPUs > 0:
		return errs.New(errs.Conflict, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case from.MemorySwap == 0 && have.MemorySwap > 0 && from.Memory > have.MemorySwap:
		return errs.New(errs.Conflict, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	return nil
}
