package container

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Restart delays, as Docker's: doubling from the first to the last, and back to
// the first after a run that lasted.
const (
	firstBackoff  = 100 * time.Millisecond
	lastBackoff   = time.Minute
	stableRunTime = 10 * time.Second
)

// onExit records the end of a container's init and does what follows from it:
// network, events, waiters, removal or restart. Idempotent per run.
func (s *Service) onExit(c *ctr, exit wire.Exit) {
	c.op.Lock()
	defer c.op.Unlock()
	s.exit(c, exit)
}

// exit is onExit; the caller holds the op lock.
func (s *Service) exit(c *ctr, exit wire.Exit) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanup.Timeout)
	defer cancel()
	r := c.view()
	switch {
	case !r.State.running(): // its start has failed
		s.forget(ctx, r.ID)
		return
	case r.recorded(&exit): // told twice, and it runs again
		return
	}
	c.closeMeter() // which keeps the network namespace
	if err := s.disconnect(ctx, &r); err != nil {
		s.Log.Error("disconnect exited container", "container", r.ID, "error", err)
	}
	if err := s.unmountVolumes(ctx, &r); err != nil {
		s.Log.Error("unmount volumes of exited container", "container", r.ID, "error", err)
	}
	again, delay := s.recordExit(ctx, c, exit)
	if exit.OOMKilled {
		s.publish(&r, events.ActionOOM)
	}
	s.publish(&r, events.ActionDie, "exitCode", strconv.Itoa(exit.Code), "execDuration", strconv.Itoa(int(exit.At.Sub(r.State.StartedAt).Seconds())))
	s.endExecs(r.ID)
	c.endHealth()
	if again {
		c.notify(exit.Code, container.WaitConditionNextExit)
	} else {
		c.notify(exit.Code, container.WaitConditionNextExit, container.WaitConditionNotRunning)
	}
	c.endRun()
	switch {
	case again:
		s.restartAfter(c, delay)
	case c.autoRemoved():
		if err := s.remove(ctx, c, true); err != nil {
			s.Log.Error("remove exited container", "container", r.ID, "error", err)
		}
	}
}

// recordExit saves the exit, and with it whether the container is started again.
func (s *Service) recordExit(ctx context.Context, c *ctr, exit wire.Exit) (again bool, delay time.Duration) {
	err := s.update(c, func(r *record) {
		again, delay = s.restartDecision(c, exit) // here, lest a stop comes between decision and record
		r.State.Status, r.State.Pid = container.StateExited, 0
		if again {
			r.State.Status = container.StateRestarting
			r.RestartCount++
		}
		r.State.ExitCode, r.State.OOMKilled = exit.Code, exit.OOMKilled
		r.State.FinishedAt = exit.At.UTC()
		r.StoppedByAPI = r.StoppedByAPI || exit.Dumped // nor is it started anew with the daemon
		r.Endpoints, r.Ports = idleEndpoints(r.Endpoints), nil
		if exit.Unknown {
			r.State.Error = "the exit code is unknown: the supervisor was not there to see it"
		}
	})
	if err != nil { // the supervisor keeps it for the next daemon
		s.Log.Error("record exit", "container", c.rec.ID, "error", err)
	} else {
		s.forget(ctx, c.rec.ID)
	}
	return again, delay
}

// endRun tells those who wait for the end of the run, and lets its streams go.
func (c *ctr) endRun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exited != nil {
		close(c.exited)
		c.exited = nil
	}
	c.parked.Close()
	c.parked = nil
}

// forget lets the supervisor drop a recorded exit.
func (s *Service) forget(ctx context.Context, id string) {
	if err := s.Supervisor.Forget(ctx, id, false); err != nil && !errs.Is(err, errs.NotFound) {
		s.Log.Warn("forget exit", "container", id, "error", err)
	}
}

// restartDecision applies the restart policy to an exit. The caller holds c.mu.
func (s *Service) restartDecision(c *ctr, exit wire.Exit) (bool, time.Duration) {
	p := c.rec.Host.RestartPolicy
	if c.rec.StoppedByAPI || exit.Dumped || s.ctx.Err() != nil {
		return false, 0
	}
	switch {
	case c.rec.Reviving, p.IsAlways(), p.IsUnlessStopped():
	case p.IsOnFailure() && exit.Code != 0 && (p.MaximumRetryCount == 0 || c.rec.RestartCount < p.MaximumRetryCount):
	default:
		return false, 0
	}
	switch {
	case c.backoff == 0 || exit.At.Sub(c.rec.State.StartedAt) > stableRunTime:
		c.backoff = firstBackoff
	default:
		c.backoff = min(c.backoff*2, lastBackoff)
	}
	return true, c.backoff
}

// restartAfter starts the container again later, unless somebody stops, starts
// or removes it first.
func (s *Service) restartAfter(c *ctr, delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(delay, func() {
		s.task(func(ctx context.Context) {
			c.op.Lock()
			defer c.op.Unlock()
			if c.view().State.Status != container.StateRestarting {
				return
			}
			r := c.view()
			// Not to be cut short by Close, which waits: the supervisor would go on, and
			// the container run without what the failed start has taken back.
			err := s.start(context.WithoutCancel(ctx), c, nil)
			switch {
			case err != nil:
				if !errs.Is(err, errs.Unavailable) {
					s.Log.Warn("restart container", "container", r.ID, "error", err)
				}
				s.restartFailed(c, err)
			case r.Reviving:
				s.publish(&r, events.ActionRestart)
			}
		})
	})
}

// restartFailed lets a container that cannot be started wait for its restart no
// longer, unless it is only that the supervisor is being replaced. The caller holds
// the op lock.
func (s *Service) restartFailed(c *ctr, err error) {
	if c.view().State.Status != container.StateRestarting {
		return // --rm has taken it away
	}
	if errs.Is(err, errs.Unavailable) {
		s.restartAfter(c, rewatchDelay)
		return
	}
	if err := s.update(c, func(r *record) { r.State.Status, r.Reviving = container.StateExited, false }); err != nil {
		s.Log.Error("record failed restart", "container", c.rec.ID, "error", err)
	}
	c.notify(startExitCode(err), container.WaitConditionNotRunning)
}

// task runs f unless the service is closing; Close waits for it.
func (s *Service) task(f func(ctx context.Context)) {
	s.mu.RLock()
	closing := s.ctx.Err() != nil
	if !closing {
		s.tasks.Add(1)
	}
	s.mu.RUnlock()
	if closing {
		return
	}
	defer s.tasks.Done()
	f(s.ctx)
}

func (c *ctr) stopTimer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
