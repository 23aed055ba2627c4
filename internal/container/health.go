package container

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/errs"
)

// Docker's defaults and limits for health checks.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
	healthOutput        = 4096 // bytes kept of a probe's output
	healthResults       = 5    // results kept
)

// checked tells whether a container has a health check.
func checked(h *container.HealthConfig) bool {
	return h != nil && len(h.Test) > 1 && (h.Test[0] == "CMD" || h.Test[0] == "CMD-SHELL")
}

// validateHealth checks times and retries, and that there is a check for an
// action to follow from.
func validateHealth(cfg *container.Config, h *container.HostConfig) error {
	if c := cfg.Healthcheck; c != nil {
		for name, d := range map[string]time.Duration{
			"Interval": c.Interval, "Timeout": c.Timeout, "StartPeriod": c.StartPeriod, "StartInterval": c.StartInterval,
		} {
			if d != 0 && d < container.MinimumDuration {
				return errs.New(errs.InvalidArgument, "%s in Healthcheck cannot be less than %s", name, container.MinimumDuration)
			}
		}
		if c.Retries < 0 {
			return errs.New(errs.InvalidArgument, "Retries in Healthcheck cannot be negative")
		}
	}
	return validateOnFailure(cfg, h)
}

// watchHealth checks a running container until its run ends. It is started once
// per run and daemon. A run that an earlier daemon has begun to check keeps what
// was found out.
func (s *Service) watchHealth(c *ctr, exited <-chan struct{}) {
	r := c.view()
	if !checked(r.Config.Healthcheck) {
		return
	}
	c.setHealth(s.firstHealth(&r))
	p, err := s.newProbe(s.ctx, c)
	if err != nil {
		s.Log.Error("prepare health check", "container", r.ID, "error", err)
		return
	}
	s.tasks.Go(func() {
		defer p.prober.Close()
		for {
			t := time.NewTimer(nextProbe(r.Config.Healthcheck, c.healthView(), r.State.StartedAt, time.Now()))
			select {
			case <-t.C:
			case <-exited:
				t.Stop()
				return
			case <-s.ctx.Done():
				t.Stop()
				return
			}
			s.checkHealth(s.ctx, c, p, exited)
		}
	})
}

// checkHealth runs the check once, unless the container stands still.
func (s *Service) checkHealth(ctx context.Context, c *ctr, p *probe, exited <-chan struct{}) {
	if c.view().State.Status == container.StatePaused {
		return
	}
	res := p.run(ctx)
	select {
	case <-exited: // which ended the check, too
		return
	case <-ctx.Done():
		return
	default:
	}
	s.judge(c, res)
	if res.ExitCode != 0 && c.healthView().Status == container.Unhealthy {
		s.onUnhealthy(ctx, c, exited)
	}
}

// nextProbe is the time until the next check: the start interval until the
// container is healthy or its start period over, then the interval, counted from
// the end of the last one. Up to a twentieth more puts it on a beat that others
// share: an idle machine wakes once for several checks.
func nextProbe(cfg *container.HealthConfig, h *container.Health, started, now time.Time) time.Duration {
	wait, last := orDuration(cfg.Interval, healthInterval), now
	if h.Status == container.Starting && now.Sub(started) < cfg.StartPeriod {
		wait = orDuration(cfg.StartInterval, healthStartInterval)
	}
	if n := len(h.Log); n > 0 && h.Log[n-1].End.Before(now) {
		last = h.Log[n-1].End
	}
	beat := wait / 20
	due := last.Add(wait).Truncate(beat).Add(beat)
	return min(due.Sub(now), wait+beat) // whatever has been done to the clock
}

func orDuration(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// judge turns a result into the container's health.
func (s *Service) judge(c *ctr, res *container.HealthcheckResult) {
	r := c.view()
	was := c.healthView()
	h := judged(*was, r.Config.Healthcheck, res, res.Start.Sub(r.State.StartedAt))
	c.setHealth(&h)
	if err := s.saveHealth(&r, &h); err != nil {
		s.Log.Warn("remember health of container", "container", r.ID, "error", err)
	}
	if h.Status != was.Status {
		s.publish(&r, events.Action(string(events.ActionHealthStatus)+": "+string(h.Status)))
	}
}

// judged is the health after a result of a check that began at that age of the
// container. Pure.
func judged(h container.Health, cfg *container.HealthConfig, res *container.HealthcheckResult, age time.Duration) container.Health {
	h.Log = append(h.Log[:len(h.Log):len(h.Log)], res)
	if n := len(h.Log) - healthResults; n > 0 {
		h.Log = h.Log[n:]
	}
	retries := cfg.Retries
	if retries <= 0 {
		retries = healthRetries
	}
	switch {
	case res.ExitCode == 0:
		h.FailingStreak, h.Status = 0, container.Healthy
	case h.Status == container.Starting && age < cfg.StartPeriod:
	default:
		if h.FailingStreak++; h.FailingStreak >= retries {
			h.Status = container.Unhealthy
		}
	}
	return h
}

// endHealth is the health of a run that is over: unhealthy, as in Docker.
func (c *ctr) endHealth() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.health != nil {
		h := *c.health
		h.Status = container.Unhealthy
		c.health = &h
	}
}

// healthView gives the health as it is; the value is never written to.
func (c *ctr) healthView() *container.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.health == nil {
		return &container.Health{Status: container.NoHealthcheck}
	}
	return c.health
}

func (c *ctr) setHealth(h *container.Health) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = h
}
