package container

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/errs"
)

// Pause freezes all processes of a container.
func (s *Service) Pause(ctx context.Context, id string) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	switch r.State.Status {
	case container.StateRunning:
	case container.StatePaused:
		return errs.New(errs.Conflict, "Container %s is already paused", r.ID)
	default:
		return errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	if err := s.Supervisor.Pause(ctx, r.ID); err != nil {
		return errs.New(errs.KindOf(err), "cannot pause container %s: %w", id, err)
	}
	c.setStatus(container.StatePaused)
	s.publish(&r, events.ActionPause)
	return nil
}

// Unpause thaws a container.
func (s *Service) Unpause(ctx context.Context, id string) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	if r.State.Status != container.StatePaused {
		return errs.New(errs.Conflict, "Container %s is not paused", r.ID)
	}
	if err := s.Supervisor.Resume(ctx, r.ID); err != nil {
		return errs.New(errs.KindOf(err), "cannot unpause container %s: %w", id, err)
	}
	c.setStatus(container.StateRunning)
	s.publish(&r, events.ActionUnPause)
	return nil
}

// setStatus changes the status in memory only: a restarted daemon asks the
// supervisor which containers are frozen.
func (c *ctr) setStatus(status container.ContainerState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec.State.Status = status
}

// Rename gives the container another name.
func (s *Service) Rename(_ context.Context, id, name string) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	old := c.view().Name
	if name == "" {
		return errs.New(errs.InvalidArgument, "Neither old nor new names may be empty")
	}
	if name[0] == '/' {
		name = name[1:]
	}
	if name == old {
		return errs.New(errs.InvalidArgument, "Renaming a container with the same name as its current name")
	}
	s.mu.Lock()
	err = s.bookName(c, name)
	s.mu.Unlock()
	if err != nil {
		return errs.New(errs.KindOf(err), "Error when allocating new name: %w", err)
	}
	if err := s.update(c, func(r *record) { r.Name = name }); err != nil {
		c.mu.Lock()
		c.rec.Name = old
		c.mu.Unlock()
		s.releaseName(c, name)
		return err
	}
	s.releaseName(c, old)
	r := c.view()
	s.publish(&r, events.ActionRename, "oldName", "/"+old)
	return nil
}
