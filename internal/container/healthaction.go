package container

import (
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// OnFailure is the annotation that says what becomes of a container that is found
// unhealthy. It is an annotation and no option of its own so that it passes
// through every client of the API, and through Compose files.
const OnFailure = "gantry.health.on-failure"

// The actions. After a kill the restart policy decides, as after any exit with a
// failure; a stop is one of the user's, and lasts; a restart is a stop after which
// the container starts again, whatever its policy says, with the policy's delays.
const (
	actionNone    = "none"
	actionKill    = "kill"
	actionRestart = "restart"
	actionStop    = "stop"
)

func validateOnFailure(cfg *container.Config, h *container.HostConfig) error {
	action := h.Annotations[OnFailure]
	if action == "" || action == actionNone {
		return nil
	}
	if !slices.Contains([]string{actionKill, actionRestart, actionStop}, action) {
		return errs.New(errs.InvalidArgument, "invalid on-failure action %q for health check, supported actions are none, kill, restart, stop", action)
	}
	if !checked(cfg.Healthcheck) {
		return errs.New(errs.InvalidArgument, "cannot set on-failure action to %s without a health check", action)
	}
	return nil
}

// onUnhealthy does what was asked for. It is called after every failed check of an
// unhealthy container, so what fails, or a daemon that dies over it, is made up for.
func (s *Service) onUnhealthy(ctx context.Context, c *ctr, exited <-chan struct{}) {
	r := c.view()
	var err error
	switch r.Host.Annotations[OnFailure] {
	case actionKill:
		if err = s.kill(ctx, &r, unix.SIGKILL); err == nil {
			err = awaitKilled(&r, exited)
		}
	case actionRestart:
		if err = s.update(c, func(r *record) { r.Reviving = true }); err == nil {
			err = s.endUnhealthy(ctx, c, exited)
		}
	case actionStop:
		if err = s.update(c, func(r *record) { r.StoppedByAPI = true }); err == nil {
			err = s.endUnhealthy(ctx, c, exited)
		}
	default:
		return
	}
	if err != nil && !errs.Is(err, errs.Conflict) { // it may have ended by itself
		s.Log.Error("act on unhealthy container", "container", r.ID, "error", err)
	}
}

// endUnhealthy is the end of a stop that nobody waits for: when the daemon goes
// before the container does, its successor goes on.
func (s *Service) endUnhealthy(ctx context.Context, c *ctr, exited <-chan struct{}) error {
	r := c.view()
	sig, err := stopSignal(&r, "")
	if err != nil {
		return err
	}
	if err := s.kill(ctx, &r, sig); err != nil {
		return err
	}
	var expired <-chan time.Time
	if timeout := s.stopTimeout(&r, nil); timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-exited:
	case <-ctx.Done():
		return nil
	case <-expired:
		if err := s.kill(ctx, &r, unix.SIGKILL); err != nil {
			return err
		}
		if err := awaitKilled(&r, exited); err != nil {
			return err
		}
	}
	if r.Host.Annotations[OnFailure] == actionStop {
		s.publish(&r, events.ActionStop)
	}
	return nil
}
