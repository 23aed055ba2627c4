package container

import (
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// runs gives the containers that run, each with the channel of that run.
func (s *Service) runs() map[*ctr]<-chan struct{} {
	runs := map[*ctr]<-chan struct{}{}
	for _, c := range s.all() {
		if exited := c.ended(); exited != nil {
			runs[c] = exited
		}
	}
	return runs
}

// catchUp treats the exits that happened while no supervisor was there. The rest of
// the containers are as the user and the daemon have them. runs are those from before
// live was asked for: later ones are not in it.
func (s *Service) catchUp(live []wire.Container, runs map[*ctr]<-chan struct{}) {
	exits, known := exitsOf(live)
	for _, c := range s.all() {
		id := c.rec.ID
		switch exit := exits[id]; {
		case exit != nil: // also of one whose start was not recorded yet
			s.tasks.Go(func() { s.onExit(c, *exit) })
		case !known[id] && runs[c] != nil:
			s.tasks.Go(func() { s.onLost(c, runs[c]) })
		}
	}
}

// onLost records the end of a run that no supervisor knows.
func (s *Service) onLost(c *ctr, run <-chan struct{}) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.ended() == run {
		s.exit(c, unseenExit())
	}
}

// unseenExit is the end of a container that the machine or a supervisor took along.
func unseenExit() wire.Exit { return wire.Exit{Code: unknownExit, At: time.Now(), Unknown: true} }

// watch feeds the supervisor's events into the containers until Close.
func (s *Service) watch(next func() (wire.Event, error)) {
	for {
		ev, err := next()
		if err != nil {
			if s.ctx.Err() == nil {
				s.Log.Error("lost the supervisor", "error", err)
				s.rewatch()
			}
			return
		}
		if ev.ExecID != "" {
			s.onExecExit(ev.ExecID, ev.Exit.Code)
			continue
		}
		c, err := s.find(ev.ID)
		if ev.StdinClosed {
			if err == nil {
				c.closeParkedStdin()
			}
			continue
		}
		if err == nil {
			s.tasks.Go(func() { s.onExit(c, ev.Exit) })
			continue
		}
		if err := s.Supervisor.Forget(s.ctx, ev.ID, true); err != nil && !errs.Is(err, errs.NotFound) {
			s.Log.Warn("forget unknown container", "container", ev.ID, "error", err)
		}
	}
}

// unknownExit stands for an exit code that nobody was there to see.
const unknownExit = 255

// rewatchDelay spaces the attempts to get a supervisor back.
const rewatchDelay = time.Second

// rewatch gets a new supervisor after the old one has died. Containers live on;
// the new one adopts them and tells which have ended.
func (s *Service) rewatch() {
	s.loseExecs()
	for s.ctx.Err() == nil {
		err := s.EnsureSupervisor(s.ctx)
		if err == nil {
			var live []wire.Container
			var next func() (wire.Event, error)
			runs, left := s.runs(), s.findAbandoned()
			if live, next, err = s.Supervisor.Watch(s.ctx); err == nil {
				s.returnStreams(live)
				s.tasks.Go(func() { s.watch(next) })
				s.catchUp(live, runs)
				s.sweepAbandoned(left, live)
				s.tasks.Go(func() { s.endUnrecorded(live) })
				return
			}
		}
		s.Log.Error("restart the supervisor", "error", err)
		select {
		case <-time.After(rewatchDelay):
		case <-s.ctx.Done():
		}
	}
}

// returnStreams gives a new supervisor the streams that its predecessor held.
func (s *Service) returnStreams(live []wire.Container) {
	for _, w := range live {
		c, err := s.find(w.ID)
		if err != nil || w.Exit != nil {
			continue
		}
		c.mu.Lock()
		r, parked := c.rec, c.parked
		c.mu.Unlock()
		var req wire.Start
		s.streams(&r, &req)
		if err := s.Supervisor.Adopt(s.ctx, r.ID, req, parked); err != nil {
			s.Log.Error("return container streams", "container", r.ID, "error", err)
		}
	}
}

// endUnrecorded ends containers whose start the supervisor could not confirm
// before it died: their start has failed, so they must not run. Of a pause it could
// not confirm it finds out what has come of it.
func (s *Service) endUnrecorded(live []wire.Container) {
	for _, w := range live {
		if w.Exit != nil {
			continue
		}
		c, err := s.find(w.ID)
		if err != nil { // removed meanwhile
			s.endUnwanted(w.ID)
			continue
		}
		c.op.Lock() // a start or pause that goes on has it
		if state := c.view().State; !state.running() {
			s.endUnwanted(w.ID)
		} else if w.Paused != (state.Status == container.StatePaused) {
			s.learnPaused(s.ctx, c) // by now it may be so no more
		}
		c.op.Unlock()
	}
}

func (s *Service) endUnwanted(id string) {
	if err := s.Supervisor.Signal(s.ctx, id, 9, true); err != nil {
		s.Log.Warn("end container that did not start", "container", id, "error", err)
	}
}
