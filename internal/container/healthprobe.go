package container

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// probe is a container's health check, ready to be run. Nothing that it depends on
// changes during a run of the container.
type probe struct {
	s       *Service
	ctr     *ctr
	command []string
	timeout time.Duration
	prober  wire.Prober
}

func (s *Service) newProbe(ctx context.Context, c *ctr) (*probe, error) {
	r := c.view()
	argv := probeCommand(r.Config)
	process, err := s.execProcess(ctx, &r, &execution{req: container.ExecCreateRequest{Cmd: argv}}, nil)
	if err != nil {
		return nil, err
	}
	p := &probe{s: s, ctr: c, command: argv, timeout: orDuration(r.Config.Healthcheck.Timeout, healthTimeout)}
	p.prober = s.Supervisor.Prober(r.ID, wire.Probe{
		Process: process, User: wire.User{Name: plainUser(r.Config.User), Groups: r.Host.GroupAdd}, MaxOutput: healthOutput, Timeout: p.timeout,
	})
	return p, nil
}

// probeCommand gives the program of a check.
func probeCommand(cfg *container.Config) []string {
	test := cfg.Healthcheck.Test
	if test[0] != "CMD-SHELL" {
		return test[1:]
	}
	shell := cfg.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(shell[:len(shell):len(shell)], test[1:]...)
}

// run runs the check once.
func (p *probe) run(ctx context.Context) *container.HealthcheckResult {
	res := &container.HealthcheckResult{Start: time.Now(), ExitCode: -1}
	r, id := p.ctr.view(), newID()
	for _, a := range []events.Action{events.ActionExecCreate, events.ActionExecStart} { // as of an exec, as Docker does
		p.s.publish(&r, execAction(a, p.command), "execID", id)
	}
	out, err := p.prober.Probe(ctx)
	res.End = time.Now()
	if err != nil {
		res.Output = err.Error()
		return res
	}
	p.s.publish(&r, events.ActionExecDie, "execID", id, "exitCode", itoa(out.Code))
	res.Output = out.Output
	if out.Truncated {
		res.Output += "..."
	}
	if !out.TimedOut {
		res.ExitCode = out.Code
		return res
	}
	if res.Output != "" {
		res.Output = ": " + res.Output
	}
	res.Output = "Health check exceeded timeout (" + p.timeout.String() + ")" + res.Output
	return res
}
