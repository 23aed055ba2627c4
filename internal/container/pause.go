package container

import (
	"context"
	"time"

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
	// Its end is awaited, which the runtime bounds, also if the client leaves: who
	// gives up half-way does not know what comes of it.
	if err := s.Supervisor.Pause(context.WithoutCancel(ctx), r.ID); err != nil {
		s.learnPaused(ctx, c)
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
	if err := s.Supervisor.Resume(context.WithoutCancel(ctx), r.ID); err != nil {
		s.learnPaused(ctx, c)
		return errs.New(errs.KindOf(err), "cannot unpause container %s: %w", id, err)
	}
	c.setStatus(container.StateRunning)
	s.publish(&r, events.ActionUnPause)
	return nil
}

// askTimeout bounds how long the supervisor is asked for what it knows already.
const askTimeout = 5 * time.Second

// learnPaused asks the supervisor whether the container, whose op lock is held, is
// paused. Without an answer all stays as it is: see rewatch.
func (s *Service) learnPaused(ctx context.Context, c *ctr) {
	r := c.view()
	if !r.State.running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	live, _, err := s.Supervisor.Watch(ctx)
	if err != nil {
		s.Log.WarnContext(ctx, "ask whether container is paused", "container", r.ID, "error", err)
		return
	}
	for _, w := range live {
		if w.ID != r.ID || w.Exit != nil {
			continue
		}
		status := container.StateRunning
		if w.Paused {
			status = container.StatePaused
		}
		if status != r.State.Status {
			c.setStatus(status)
		}
	}
}

// setStatus changes the status in memory only: a restarted daemon asks the
// supervisor which containers are frozen, and store.loadRemoval which are going.
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
	err = s.bookName(c, "/"+name)
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
