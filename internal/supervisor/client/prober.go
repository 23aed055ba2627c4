package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/repeat"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Prober runs the same probe again and again. A probe that is well is started again
// by the same small process beside the container, with which the daemon speaks
// itself: the supervisor has no part in it. After a failure all is done anew, so
// that no probe fails only because of what has changed since.
//
// Its methods must not run at the same time.
type Prober struct {
	client   *Client
	id       string
	probe    wire.Probe
	again    *repeat.Process // nil: make one
	hopeless bool            // processes like this one cannot be repeated
}

// Prober prepares probes of a container; nothing is done until the first.
func (c *Client) Prober(id string, p wire.Probe) wire.Prober {
	return &Prober{client: c, id: id, probe: p}
}

// Probe runs the process to its end. One that is running when ctx ends is not
// waited for; it is ended in its time.
func (p *Prober) Probe(ctx context.Context) (wire.Probed, error) {
	if err := p.prepare(ctx); err != nil {
		return wire.Probed{}, err
	}
	if p.again == nil {
		return p.client.probe(ctx, p.id, p.probe)
	}
	res, err := p.again.Run(ctx, p.probe.MaxOutput)
	if err != nil || res.Code != 0 || res.Late {
		p.drop()
	}
	if errors.Is(err, repeat.ErrUseless) { // an exec tells why, or runs the program
		return p.client.probe(ctx, p.id, p.probe)
	}
	return wire.Probed{Code: res.Code, Output: res.Output, Truncated: res.Truncated, TimedOut: res.Late}, err
}

// prepare asks for a process that repeats, unless there is one or can be none.
func (p *Prober) prepare(ctx context.Context) error {
	if p.again != nil || p.hopeless {
		return nil
	}
	_, got, err := p.client.do(ctx, wire.Request{Op: wire.OpRepeat, ID: p.id, Probe: &p.probe})
	if errs.Is(err, errs.Unsupported) {
		p.hopeless = true
		return nil
	}
	if err != nil {
		return err
	}
	if len(got) != 1 {
		got.Close()
		return fmt.Errorf("supervisor %s: %d descriptors", wire.OpRepeat, len(got))
	}
	p.again, err = repeat.New(got[0])
	return err
}

// Close ends what was prepared.
func (p *Prober) Close() { p.drop() }

func (p *Prober) drop() {
	if p.again != nil {
		_ = p.again.Close() // it ends even so
		p.again = nil
	}
}

// probe runs a process to its end, as an exec does.
func (c *Client) probe(ctx context.Context, id string, p wire.Probe) (wire.Probed, error) {
	resp, _, err := c.do(ctx, wire.Request{Op: wire.OpProbe, ID: id, Probe: &p})
	if err != nil || resp.Probed == nil {
		return wire.Probed{}, err
	}
	return *resp.Probed, nil
}
