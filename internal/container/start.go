package container

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Start runs a created or exited container.
func (s *Service) Start(ctx context.Context, id string) error {
	return s.startFrom(ctx, id, func(*record) (*restorePoint, error) { return nil, nil })
}

// startFrom is Start with the processes of what find finds, if that is not nil.
func (s *Service) startFrom(ctx context.Context, id string, find func(*record) (*restorePoint, error)) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	st := c.view().State
	switch {
	case st.Status == container.StatePaused:
		return errs.New(errs.Conflict, "cannot start a paused container, try unpause instead")
	case st.running():
		return errs.New(errs.NotModified, "container %s is already running", id)
	case st.Status == container.StateRemoving || st.Status == container.StateDead:
		return errs.New(errs.Conflict, "container is marked for removal and cannot be started")
	}
	r := c.view()
	from, err := find(&r)
	if err != nil {
		return err
	}
	c.stopTimer()
	c.mu.Lock()
	c.rec.StoppedByAPI, c.rec.RestartCount, c.backoff = false, 0, 0
	c.mu.Unlock()
	if err = s.start(ctx, c, from); err != nil && st.Status == container.StateRestarting {
		s.restartFailed(c, err)
	}
	return err
}

// start is Start without its checks; the caller holds the op lock.
func (s *Service) start(ctx context.Context, c *ctr, from *restorePoint) error {
	r := c.view()
	err := s.launch(ctx, c, from)
	if err == nil {
		r := c.view()
		if err := s.relink(&r); err != nil {
			s.Log.Warn("tell linked containers of a new address", "container", r.ID, "error", err)
		}
		s.publish(&r, events.ActionStart)
		return nil
	}
	// Clients that attached for this start must not wait for the next.
	if err := s.Supervisor.Forget(ctx, r.ID, true); err != nil && !errs.Is(err, errs.NotFound) {
		s.Log.Warn("release attached clients", "container", r.ID, "error", err)
	}
	saveErr := s.update(c, func(r *record) {
		r.State.Error = err.Error()
		if from == nil { // what is restored has ended once, in its way
			r.State.ExitCode = startExitCode(err)
		}
		r.Endpoints, r.Ports = idleEndpoints(r.Endpoints), nil
	})
	if saveErr != nil {
		s.Log.Error("record failed start", "container", r.ID, "error", saveErr)
	}
	if r.Host.AutoRemove {
		if err := s.remove(context.WithoutCancel(ctx), c, true); err != nil {
			s.Log.Error("remove container that did not start", "container", r.ID, "error", err)
		}
	}
	return err
}

// launch makes the network, the files and the spec, and lets the supervisor run
// the container.
func (s *Service) launch(ctx context.Context, c *ctr, from *restorePoint) (err error) {
	var undo cleanup.Stack
	defer func() {
		if err := undo.Run(); err != nil {
			s.Log.Error("undo start", "container", c.rec.ID, "error", err)
		}
	}()
	r := c.view()
	if err := s.mountVolumes(ctx, &r); err != nil {
		return err
	}
	undo.Push(func(ctx context.Context) error { return s.unmountVolumes(ctx, &r) })
	users, ids, done, err := s.users(&r)
	if err != nil {
		return err
	}
	defer done()
	r.State.Remap = ids
	sandbox, err := s.connect(ctx, &r, users, from.addresses())
	if err != nil {
		return errs.New(errs.KindOf(err), "failed to set up container networking: %w", err)
	}
	undo.Push(func(ctx context.Context) error { return s.disconnect(ctx, &r) })
	if sandbox != nil {
		defer sandbox.NS.Close() //nolint:errcheck // the supervisor has its own by then
		r.Endpoints, r.Ports = sandbox.Endpoints, sandbox.Ports
	}
	req, err := s.startRequest(ctx, &r, sandbox)
	if err != nil {
		return err
	}
	req.Restore = from.directory()
	if err := s.recordStart(c, &r); err != nil {
		return err
	}
	netns, closeNS, err := s.netns(ctx, &r, sandbox, users)
	if err != nil {
		return err
	}
	defer closeNS()
	c.mu.Lock()
	c.noStdin = false
	c.mu.Unlock()
	pid, parked, err := s.Supervisor.Start(ctx, r.ID, req, netns)
	if err != nil && from != nil {
		return from.failure(err)
	}
	if err != nil {
		return startError(err)
	}
	undo.Release()
	s.nowRuns(c, &r, pid, parked)
	return nil
}

// netns is the network namespace that the container's init joins; nil: none of ours.
func (s *Service) netns(ctx context.Context, r *record, sandbox *engine.Sandbox, users engine.Users) (ns *os.File, done func(), err error) {
	switch {
	case sandbox != nil:
		return sandbox.NS, func() {}, nil // launch closes it
	case r.isolated():
		if ns, err = s.Networks.Isolated(ctx, users); err != nil {
			return nil, nil, err
		}
		return ns, func() { _ = ns.Close() }, nil // the supervisor has its own by then
	}
	return nil, func() {}, nil
}

// nowRuns notes that the container runs, and begins with all that goes with it.
func (s *Service) nowRuns(c *ctr, r *record, pid int, parked wire.FDs) {
	if r.networked() {
		s.Networks.Announce(events.ActionConnect, string(r.Host.NetworkMode), r.ID)
	}
	exited := make(chan struct{})
	c.mu.Lock()
	c.rec.State = state{Status: container.StateRunning, Pid: pid, StartedAt: time.Now().UTC(), FinishedAt: c.rec.State.FinishedAt, Remap: r.State.Remap}
	c.exited, c.parked = exited, parked
	c.trimParked()
	c.mu.Unlock()
	s.watchHealth(c, exited)
	s.shipLog(c, exited)
}

// recordStart saves the network, and that the container runs, before it does:
// after a crash the supervisor knows better, and after a power loss the restart
// policy is applied. In memory it does not run yet.
func (s *Service) recordStart(c *ctr, r *record) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	c.rec.Config, c.rec.Endpoints, c.rec.Ports, c.rec.Reviving = r.Config, r.Endpoints, r.Ports, false
	c.rec.AppArmor = r.AppArmor
	durable := c.rec
	c.mu.Unlock()
	durable.State = state{Status: container.StateRunning, StartedAt: time.Now().UTC(), FinishedAt: durable.State.FinishedAt, Remap: r.State.Remap}
	return s.store.save(&durable)
}

// connect gives the container its network; nil where it has none of its own.
func (s *Service) connect(ctx context.Context, r *record, users engine.Users, preferred map[string]netip.Addr) (*engine.Sandbox, error) {
	mode := r.Host.NetworkMode
	if !r.networked() || mode.IsHost() || mode.IsNone() {
		return nil, nil
	}
	return s.Networks.Attach(ctx, engine.NetworkRequest{
		ContainerID: r.ID, Name: r.Name, Hostname: r.Config.Hostname, Mode: string(mode),
		Endpoints: r.Network, Exposed: r.Config.ExposedPorts, Bindings: r.Host.PortBindings,
		PublishAll: r.Host.PublishAllPorts, Sysctls: netSysctls(r.Host.Sysctls), Users: users, Preferred: preferred,
	})
}

// disconnect is the reverse of connect. A network's events tell of it even if the
// container's start has failed, as Docker's do.
func (s *Service) disconnect(ctx context.Context, r *record) error {
	if !r.networked() {
		return nil
	}
	defer s.Networks.Announce(events.ActionDisconnect, string(r.Host.NetworkMode), r.ID)
	return s.Networks.Detach(ctx, r.ID)
}

// networked tells whether the container is in a network, host and none among
// them, in its own right.
func (r *record) networked() bool {
	return !r.Config.NetworkDisabled && !r.Host.NetworkMode.IsContainer()
}

// isolated tells whether the container has a network namespace with nothing in it.
func (r *record) isolated() bool {
	mode := r.Host.NetworkMode
	return mode.IsNone() || r.Config.NetworkDisabled && !mode.IsHost() && !mode.IsContainer()
}

func netSysctls(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if strings.HasPrefix(k, "net.") {
			out[k] = v
		}
	}
	return out
}
