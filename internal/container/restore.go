package container

import (
	"context"
	"errors"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// New loads the records and brings them in line with what is really there: the
// supervisor's containers, the network, the snapshots. What nobody owns goes.
func New(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		Options: o, store: store{root: o.Root},
		byID: map[string]*ctr{}, byName: map[string]*ctr{}, execs: map[string]*execution{}, making: map[string]*ctr{},
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	records, broken, err := s.store.load()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		c := newCtr(*r)
		s.byID[r.ID], s.byName[r.Name] = c, c
		s.reserveLabels(r.Labels)
	}
	left := s.findAbandoned()
	live, next, err := o.Supervisor.Watch(s.ctx)
	if err != nil {
		return nil, err
	}
	live = s.dropRecorded(ctx, live)
	s.adopt(ctx, live)
	s.sweepAbandoned(left, live)
	if err := o.Networks.Restore(ctx, s.sandboxes()); err != nil {
		return nil, err
	}
	if err := o.Volumes.Restore(ctx, s.volumeHolders()); err != nil {
		return nil, err
	}
	for _, id := range broken {
		if err := s.store.remove(id); err != nil {
			s.Log.Warn("remove half-created container", "container", id, "error", err)
		}
	}
	if err := s.sweepHealth(); err != nil {
		return nil, err
	}
	if err := s.dropSnapshots(ctx); err != nil {
		return nil, err
	}
	s.tasks.Go(func() { s.watch(next) })
	for _, c := range s.all() {
		exited := c.ended()
		if exited != nil {
			s.watchHealth(c, exited)
		} else {
			s.showHealth(c)
		}
		s.shipLog(c, exited)
	}
	s.settle(live)
	return s, nil
}

// dropRecorded leaves out the exits that an earlier daemon has recorded and could not
// say so any more.
func (s *Service) dropRecorded(ctx context.Context, live []wire.Container) []wire.Container {
	return slices.DeleteFunc(live, func(w wire.Container) bool {
		c := s.byID[w.ID]
		if c == nil || w.Exit == nil || !c.rec.recorded(w.Exit) {
			return false
		}
		s.forget(ctx, c.rec.ID)
		return true
	})
}

// adopt takes the running state from the supervisor. Containers that it runs
// but that no record knows are ended.
func (s *Service) adopt(ctx context.Context, live []wire.Container) {
	running := map[string]wire.Container{}
	for _, w := range live {
		running[w.ID] = w
	}
	for id, c := range s.byID {
		w, ok := running[id]
		delete(running, id)
		switch {
		case c.rec.State.Status == container.StateRemoving:
			if ok && w.Exit == nil { // by a start that failed in the daemon's eyes
				s.endUnwanted(id)
			}
		case ok && w.Exit == nil:
			c.rec.State.Status, c.rec.State.Pid = container.StateRunning, w.Pid
			if w.Paused {
				c.rec.State.Status = container.StatePaused
			}
			if c.rec.State.StartedAt.IsZero() || c.rec.State.StartedAt.Before(c.rec.State.FinishedAt) {
				c.rec.State.StartedAt = w.StartedAt.UTC() // started just before a crash
			}
			c.exited = make(chan struct{})
			var err error
			if c.parked, err = s.Supervisor.Park(ctx, id); err != nil {
				s.Log.Warn("park container streams", "container", id, "error", err)
			}
			if len(c.parked) == 0 { // daemon and supervisor were killed
				s.returnStreams([]wire.Container{w})
			}
		case ok && !c.rec.State.running() && c.rec.State.Status != container.StateRestarting:
			// It ran and ended unrecorded: let onExit treat it as a run.
			c.rec.State.Status, c.rec.State.StartedAt = container.StateRunning, w.StartedAt.UTC()
		}
	}
	for id, w := range running {
		if w.Exit == nil {
			s.Log.Warn("end container without a record", "container", id)
			if err := s.Supervisor.Signal(ctx, id, 9, true); err != nil {
				s.Log.Warn("end container without a record", "container", id, "error", err)
			}
			continue
		}
		if err := s.Supervisor.Forget(ctx, id, true); err != nil {
			s.Log.Warn("forget container without a record", "container", id, "error", err)
		}
	}
}

func (s *Service) sandboxes() []engine.LiveSandbox {
	var live []engine.LiveSandbox
	for _, c := range s.byID {
		r := &c.rec
		if r.State.running() && r.State.Pid > 0 && len(r.Endpoints) > 0 {
			live = append(live, engine.LiveSandbox{ContainerID: r.ID, Name: r.Name, Pid: r.State.Pid, Endpoints: r.Endpoints, Ports: r.Ports})
		}
	}
	return live
}

func (s *Service) volumeHolders() map[string][]string {
	holders := map[string][]string{}
	for _, c := range s.byID {
		for _, m := range c.rec.Mounts {
			if m.Type == mount.TypeVolume && c.rec.State.running() {
				holders[m.Name] = append(holders[m.Name], c.rec.ID)
			}
		}
	}
	return holders
}

func (s *Service) dropSnapshots(ctx context.Context) error {
	keys, err := s.Images.RootfsKeys(ctx)
	if err != nil {
		return err
	}
	var all error
	for _, key := range keys {
		if s.byID[rootfsOwner(key)] == nil {
			all = errors.Join(all, s.Images.RemoveRootfs(ctx, key))
		}
	}
	return all
}

// settle treats what happened while no daemon was there: exits, unfinished
// removals, and after a reboot the restart policies.
func (s *Service) settle(live []wire.Container) {
	exits, known := exitsOf(live)
	for _, c := range s.all() {
		r := c.view()
		switch st := r.State; {
		case st.running() && exits[r.ID] != nil:
			s.onExit(c, *exits[r.ID])
		case st.running() && !known[r.ID]: // the machine or the supervisor went down
			s.onExit(c, unseenExit())
		case st.Status == container.StateRestarting:
			s.restartAfter(c, 0)
		case st.Status == container.StateRemoving, st.Status == container.StateDead:
			s.finishRemoval(c, r.volumesToo)
		case r.Host.AutoRemove && st.Status == container.StateExited:
			s.finishRemoval(c, true)
		case st.Status == container.StateExited && !r.StoppedByAPI && (r.Host.RestartPolicy.IsAlways() || r.Host.RestartPolicy.IsUnlessStopped()),
			st.Status == container.StateExited && r.Host.RestartPolicy.IsAlways():
			_ = s.update(c, func(r *record) { r.State.Status, r.StoppedByAPI = container.StateRestarting, false })
			s.restartAfter(c, 0)
		}
	}
}

func (s *Service) finishRemoval(c *ctr, volumes bool) {
	c.op.Lock()
	defer c.op.Unlock()
	if err := s.remove(context.WithoutCancel(s.ctx), c, volumes); err != nil {
		s.Log.Warn("finish removal", "container", c.rec.ID, "error", err)
	}
}

// exitsOf gives the exits that a supervisor has on record, and which containers it
// knows at all.
func exitsOf(live []wire.Container) (exits map[string]*wire.Exit, known map[string]bool) {
	exits, known = map[string]*wire.Exit{}, map[string]bool{}
	for _, w := range live {
		exits[w.ID], known[w.ID] = w.Exit, true
	}
	return exits, known
}

// Close ends the service's own work. Containers go on.
func (s *Service) Close() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	for _, c := range s.all() {
		c.stopTimer()
	}
	s.tasks.Wait()
	for _, c := range s.all() {
		c.closeMeter()
		c.mu.Lock()
		c.parked.Close() // the supervisor has its own
		c.parked = nil
		c.mu.Unlock()
	}
}
