package supervisor

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// obtain gives the container of that id, new if need be.
func (s *Server) obtain(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.obtainLocked(id)
}

func (s *Server) obtainLocked(id string) *container {
	c := s.containers[id]
	if c == nil {
		c = &container{id: id, srv: s}
		s.containers[id] = c
	}
	return c
}

func (s *Server) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, errs.New(errs.NotFound, "the supervisor knows no container %s", id)
}

// forget drops the record of an ended container: the daemon has it. Clients that
// wait for the container's next start stay unless drop says that none will come.
func (s *Server) forget(c *container, drop bool) error {
	c.mu.Lock()
	if c.run != nil && c.exit == nil {
		c.mu.Unlock()
		return errs.New(errs.Conflict, "container %s is running", c.id)
	}
	c.forgotten = true
	c.mu.Unlock()
	if drop {
		c.dropWaiting()
	}
	s.release(c)
	return s.exits.remove(c.id)
}

// release removes a forgotten container from the table once nothing of it is left.
func (s *Server) release(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	never := c.run == nil && c.exit == nil
	gone := (c.forgotten || never) && len(c.waiting) == 0
	c.mu.Unlock()
	if gone && s.containers[c.id] == c && c.settled() {
		delete(s.containers, c.id)
	}
}

// settled tells whether nothing of the last run is left to be cleaned.
func (c *container) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil {
		return true
	}
	select {
	case <-c.run.done:
		return true
	default:
		return false
	}
}

// remains notes that a container could not be removed from the kernel whole, for
// want of descriptors or memory, say.
func (s *Server) remains(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unclean[id] = struct{}{}
}

// sweep removes the remains of containers, which would be in the way of their
// next start. What fails again waits for the next sweep.
func (s *Server) sweep(ctx context.Context) {
	s.mu.Lock()
	ids := s.unclean
	s.unclean = map[string]struct{}{}
	s.mu.Unlock()
	for id := range ids {
		c := s.obtain(id)
		if err := c.sweep(ctx); err != nil {
			s.log.Warn("remove what is left of a container", "container", id, "error", err)
			s.remains(id)
		}
		s.release(c)
	}
}

func (c *container) sweep(ctx context.Context) error {
	c.starting.Lock()
	defer c.starting.Unlock()
	if _, err := c.running(); err == nil {
		return nil // started meanwhile, so nothing was left
	}
	return c.srv.runtime.Delete(ctx, c.id, true)
}

// adopt takes over what an earlier supervisor left: it watches what lives and
// records what ended unseen. The daemon gives their streams back.
func (s *Server) adopt() error {
	exits, err := s.exits.load()
	if err != nil {
		return err
	}
	for id, exit := range exits {
		s.obtain(id).exit = &exit
	}
	list, err := s.runtime.List()
	if err != nil {
		return err
	}
	for _, rt := range list {
		if err := s.adoptOne(rt); err != nil {
			s.log.Warn("adopt container", "container", rt.ID(), "error", err)
		}
	}
	return nil
}

func (s *Server) adoptOne(rt *oci.Container) error {
	if rt.Pid() == 0 { // its start was cut short before there was a process
		ctx, cancel := context.WithTimeout(context.Background(), cleanup.Timeout)
		defer cancel()
		return s.runtime.Delete(ctx, rt.ID(), true)
	}
	st, err := rt.State()
	if err != nil {
		return err
	}
	c := s.obtain(rt.ID())
	r := &run{rt: rt, pid: rt.Pid(), startedAt: time.Now(), paused: st.Status == "paused", io: &streams{}, done: make(chan struct{})}
	c.run = r
	if c.exit != nil { // its end was recorded, its remains were not removed
		go c.clean(r)
		return nil
	}
	r.returned = make(chan struct{})
	pidfd, err := rt.PidFD()
	if err != nil { // it has ended, nobody knows how
		go c.ended(r, status{code: 255})
		return nil
	}
	c.watchOOM(r)
	if half, err := rt.HalfPaused(); err != nil || half { // nobody waits for that pause any more
		if err := errors.Join(err, rt.Resume(context.Background())); err != nil {
			s.log.Warn("take back an unfinished pause", "container", rt.ID(), "error", err)
		}
	}
	return s.reaper.add(r.pid, pidfd, func(st status) { c.ended(r, st) })
}

// watcher is one daemon that is told of exits. Its queue grows with what the
// daemon has not read yet; events are small and the daemon reads all the time.
type watcher struct {
	mu    sync.Mutex
	queue []wire.Event
	wake  chan struct{}
}

func (s *Server) watch(conn *os.File) {
	w := &watcher{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	s.leaving = false
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	var resp wire.Response
	for _, c := range all {
		if snap, ok := c.snapshot(); ok {
			resp.Containers = append(resp.Containers, snap)
		}
	}
	gone := make(chan struct{})
	err := wire.Write(conn, resp)
	go func() { waitHangup(conn); close(gone) }()
	for err == nil {
		select {
		case <-w.wake:
			err = w.send(conn)
		case <-gone:
			err = os.ErrClosed
		}
	}
	_ = conn.Close()
	s.mu.Lock()
	delete(s.watchers, w)
	s.mu.Unlock()
	s.idleCheck()
}

func (w *watcher) send(conn *os.File) error {
	w.mu.Lock()
	queue := w.queue
	w.queue = nil
	w.mu.Unlock()
	for _, ev := range queue {
		if err := wire.Write(conn, ev); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) publish(ev wire.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		w.mu.Lock()
		w.queue = append(w.queue, ev)
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Server) busy() bool {
	for _, c := range s.containers {
		if !c.settled() {
			return true
		}
	}
	return false
}

// shutdown ends the server if no container needs it, else when the last has ended
// and no daemon has come.
func (s *Server) shutdown() bool {
	s.mu.Lock()
	busy := s.busy()
	s.leaving = true
	s.mu.Unlock()
	if !busy {
		s.quitOnce.Do(func() { close(s.quit) })
	}
	return !busy
}

// idleCheck starts or stops the clock after which an unused supervisor ends.
func (s *Server) idleCheck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	if len(s.watchers) == 0 && !s.busy() {
		grace := idleGrace
		if s.leaving {
			grace = 0
		}
		s.idle = time.AfterFunc(grace, func() {
			s.mu.Lock()
			used := len(s.watchers) > 0 || s.busy()
			s.mu.Unlock()
			if !used {
				s.quitOnce.Do(func() { close(s.quit) })
			}
		})
	}
}
