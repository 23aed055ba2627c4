package container

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Remove deletes a container; force ends it first. volumes also removes its
// anonymous volumes.
func (s *Service) Remove(ctx context.Context, id string, force, volumes bool) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	for { // until nobody starts it between its end and its removal
		if force {
			if err := s.endForRemoval(ctx, c); err != nil {
				return err
			}
		}
		again, err := s.removeEnded(ctx, c, id, force, volumes)
		if !again {
			return err
		}
	}
}

// removeEnded removes a container unless it runs: then it is to be ended again if
// force is given.
func (s *Service) removeEnded(ctx context.Context, c *ctr, id string, force, volumes bool) (again bool, err error) {
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	switch {
	case r.State.running() && force:
		return true, nil
	case !force && (r.State.running() || r.State.Status == container.StateRestarting):
		return false, errRunning(&r, id)
	}
	return false, s.remove(context.WithoutCancel(ctx), c, volumes)
}

func errRunning(r *record, id string) error {
	if r.State.Status == container.StatePaused {
		return errs.New(errs.Conflict, "cannot remove container %q: container is paused and must be unpaused first", id)
	}
	return errs.New(errs.Conflict, "cannot remove container %q: container is %s: stop the container before removing or force remove", id, r.State.Status)
}

// endForRemoval ends a container if it runs.
func (s *Service) endForRemoval(ctx context.Context, c *ctr) error {
	exited := c.beginStop()
	r := c.view()
	if exited == nil {
		return nil
	}
	if err := s.kill(ctx, &r, unix.SIGKILL); err != nil && !errs.Is(err, errs.Conflict) {
		return errs.New(errs.KindOf(err), "could not kill container %s: %w", r.ID, err)
	}
	if r.State.Status == container.StatePaused {
		if err := s.Supervisor.Resume(ctx, r.ID); err != nil {
			s.Log.Debug("thaw container to remove it", "container", r.ID, "error", err)
		}
	}
	return awaitKilled(&r, exited)
}

// remove takes everything away; the caller holds the op lock and the container
// does not run. It can be repeated after a failure or a crash, which settle does: the
// record goes last.
func (s *Service) remove(ctx context.Context, c *ctr, volumes bool) error {
	select {
	case <-c.gone:
		return nil // --rm or another client was faster
	default:
	}
	c.stopTimer()
	r := c.view()
	// After its end, a container with --rm is removed anyway.
	if !r.Host.AutoRemove || r.State.Status != container.StateExited {
		if err := s.store.beginRemoval(r.ID, volumes); err != nil { // a read-only disk says so below
			s.Log.Warn("begin removal", "container", r.ID, "error", err)
		}
	}
	c.setStatus(container.StateRemoving)
	if err := errors.Join(s.removeImageMounts(ctx, &r), s.Images.RemoveRootfs(ctx, r.ID)); err != nil {
		c.setStatus(container.StateDead)
		return errs.New(errs.Internal, "unable to remove filesystem for %s: %w", r.ID, err)
	}
	c.endShipping()
	c.saving.Lock()
	err := s.store.remove(r.ID)
	c.saving.Unlock()
	if err != nil {
		return err
	}
	s.releaseLabels(r.Labels)
	s.dropHealth(r.ID)
	if err := s.Supervisor.Forget(ctx, r.ID, true); err != nil && !errs.Is(err, errs.NotFound) {
		s.Log.Warn("forget removed container", "container", r.ID, "error", err)
	}
	s.mu.Lock()
	delete(s.byID, r.ID)
	s.dropExecs(r.ID)
	if s.byName[r.Name] == c {
		delete(s.byName, r.Name)
	}
	s.mu.Unlock()
	if volumes { // now that nobody says that this container uses them
		if err := s.removeAnonymous(ctx, r.Mounts); err != nil {
			s.Log.Warn("remove anonymous volumes", "container", r.ID, "error", err)
		}
	}
	s.publish(&r, events.ActionDestroy)
	close(c.gone)
	c.notify(r.State.ExitCode, container.WaitConditionRemoved, container.WaitConditionNextExit, container.WaitConditionNotRunning)
	return nil
}

// Prune removes stopped containers that match the filters until and label.
func (s *Service) Prune(ctx context.Context, f engine.Filters) (container.PruneReport, error) {
	rep := container.PruneReport{ContainersDeleted: []string{}}
	until, err := pruneUntil(f)
	if err != nil {
		return rep, err
	}
	for _, c := range s.all() {
		r := c.view()
		if r.State.running() || r.State.Status == container.StateRestarting || !until.IsZero() && r.Created.After(until) || !matchLabels(f, r.Config.Labels) {
			continue
		}
		rw, _, err := s.Images.RootfsUsage(ctx, r.ID)
		if err != nil {
			s.Log.Debug("measure container", "container", r.ID, "error", err)
		}
		if err := s.Remove(ctx, r.ID, false, false); err != nil {
			s.Log.Warn("prune container", "container", r.ID, "error", err)
			continue
		}
		rep.ContainersDeleted = append(rep.ContainersDeleted, r.ID)
		rep.SpaceReclaimed += uint64(max(rw, 0))
	}
	s.Events.Publish(events.ContainerEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(rep.SpaceReclaimed, 10)})
	return rep, nil
}

func pruneUntil(f engine.Filters) (time.Time, error) {
	for key := range f {
		if !slices.Contains([]string{"until", "label", "label!"}, key) {
			return time.Time{}, errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
		}
	}
	vs := f["until"]
	if len(vs) == 0 {
		return time.Time{}, nil
	}
	if len(vs) > 1 {
		return time.Time{}, errs.New(errs.InvalidArgument, "more than one until filter specified")
	}
	if d, err := time.ParseDuration(vs[0]); err == nil {
		return time.Now().Add(-d), nil
	}
	if sec, err := strconv.ParseFloat(vs[0], 64); err == nil {
		return time.Unix(0, int64(sec*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, vs[0], time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errs.New(errs.InvalidArgument, "failed to parse value as time or duration: %q", vs[0])
}
