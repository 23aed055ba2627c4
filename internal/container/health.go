package container

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/logstream"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
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
	return h != nil && len(h.Test) > 0 && h.Test[0] != "NONE" && h.Test[0] != ""
}

// probeCommand gives the program of a check.
func probeCommand(cfg *container.Config) []string {
	test := cfg.Healthcheck.Test
	if test[0] == "CMD-SHELL" {
		shell := cfg.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(shell[:len(shell):len(shell)], strings.Join(test[1:], " "))
	}
	if test[0] == "CMD" {
		return test[1:]
	}
	return test
}

// watchHealth checks a running container until its run ends. It is started once
// per run.
func (s *Service) watchHealth(c *ctr, exited <-chan struct{}) {
	r := c.view()
	if !checked(r.Config.Healthcheck) {
		return
	}
	c.setHealth(&container.Health{Status: container.Starting, Log: []*container.HealthcheckResult{}})
	s.tasks.Go(func() {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		started := time.Now()
		for {
			h := c.healthView()
			t := time.NewTimer(probeDelay(r.Config.Healthcheck, h, time.Since(started)))
			select {
			case <-t.C:
			case <-exited:
				t.Stop()
				return
			case <-ctx.Done():
				t.Stop()
				return
			}
			if c.view().State.Status == container.StatePaused {
				continue
			}
			s.judge(c, s.probe(ctx, c), time.Since(started))
		}
	})
}

// probeDelay is the start interval until the container is healthy or its start
// period over, then the interval.
func probeDelay(h *container.HealthConfig, now *container.Health, age time.Duration) time.Duration {
	if now.Status == container.Starting && age < h.StartPeriod {
		return orDuration(h.StartInterval, healthStartInterval)
	}
	return orDuration(h.Interval, healthInterval)
}

func orDuration(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// probe runs the check once.
func (s *Service) probe(ctx context.Context, c *ctr) *container.HealthcheckResult {
	r := c.view()
	res := &container.HealthcheckResult{Start: time.Now(), ExitCode: -1}
	defer func() { res.End = time.Now() }()
	x := &execution{id: newID(), ctr: c, req: container.ExecCreateRequest{Cmd: probeCommand(r.Config)}, done: make(chan struct{})}
	x.started, x.running = true, true
	process, err := s.execProcess(&r, x, nil)
	if err != nil {
		res.Output = err.Error()
		return res
	}
	s.mu.Lock()
	s.execs[x.id] = x
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.execs, x.id)
		s.mu.Unlock()
	}()
	timeout := orDuration(r.Config.Healthcheck.Timeout, healthTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s.runProbe(ctx, x, &r, process, res)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		res.ExitCode = -1
		res.Output = "Health check exceeded timeout (" + timeout.String() + ")" + suffix(res.Output)
	}
	return res
}

func suffix(output string) string {
	if output == "" {
		return ""
	}
	return ": " + output
}

func (s *Service) runProbe(ctx context.Context, x *execution, r *record, process json.RawMessage, res *container.HealthcheckResult) {
	call := wire.Exec{Process: process, User: wire.User{Name: r.Config.User}, Attached: true}
	pid, conn, err := s.Supervisor.Exec(ctx, r.ID, x.id, call, wire.Attach{Stdout: true, Stderr: true})
	if err != nil {
		res.Output = err.Error()
		return
	}
	defer conn.Close() //nolint:errcheck // the probe is over
	stop := context.AfterFunc(ctx, func() {
		_ = unix.Kill(pid, unix.SIGKILL) // the probe's time is up
		_ = conn.Close()
	})
	defer stop()
	out := &limited{max: healthOutput}
	_ = logstream.Demultiplex(conn, out) // it ends when either side does
	x.settle()
	res.Output = out.String()
	x.mu.Lock()
	if x.code != nil {
		res.ExitCode = *x.code
	}
	x.mu.Unlock()
}

// limited keeps the first bytes that are written to it.
type limited struct {
	strings.Builder
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.Len(); room > 0 {
		l.Builder.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

var _ io.Writer = (*limited)(nil)

// judge turns a result into the container's health.
func (s *Service) judge(c *ctr, res *container.HealthcheckResult, age time.Duration) {
	r := c.view()
	cfg := r.Config.Healthcheck
	h := *c.healthView()
	was := h.Status
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
	c.setHealth(&h)
	if h.Status != was {
		s.publish(&r, events.Action(string(events.ActionHealthStatus)+": "+string(h.Status)))
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
