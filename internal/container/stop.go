package container

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// defaultStopTimeout is Docker's.
const defaultStopTimeout = 10 * time.Second

// killGrace is how long the end after SIGKILL is waited for: longer means that
// the process hangs in the kernel.
const killGrace = 10 * time.Second

// Stop asks the container's init to end, and ends it when it does not.
func (s *Service) Stop(ctx context.Context, id, sig string, timeout *int) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	return s.stop(ctx, c, sig, timeout)
}

func (s *Service) stop(ctx context.Context, c *ctr, sig string, timeout *int) error {
	if s.cancelRestart(ctx, c) {
		return nil
	}
	r := c.view()
	if !r.State.running() {
		return errs.New(errs.NotModified, "container %s is not running", r.ID)
	}
	signum, err := stopSignal(&r, sig)
	if err != nil {
		return err
	}
	exited := c.beginStop()
	if exited == nil { // it has just ended by itself, and may be about to start again
		return s.stop(ctx, c, sig, timeout)
	}
	if err := s.update(c, func(*record) {}); err != nil { // a full disk keeps nobody from stopping
		s.Log.Error("record stop", "container", r.ID, "error", err)
	}
	if err := s.end(ctx, c, signum, s.stopTimeout(&r, timeout), exited); err != nil {
		return err
	}
	s.publish(&r, events.ActionStop)
	return nil
}

// cancelRestart ends the wait of a container for its restart, and tells whether it
// did. A restart that is under way goes on: then the container runs afterwards.
func (s *Service) cancelRestart(ctx context.Context, c *ctr) bool {
	if c.view().State.Status != container.StateRestarting {
		return false
	}
	c.op.Lock() // a restart that is under way has it
	defer c.op.Unlock()
	r := c.view()
	if r.State.Status != container.StateRestarting {
		return false
	}
	c.stopTimer()
	err := s.update(c, func(r *record) { r.State.Status, r.StoppedByAPI = container.StateExited, true })
	if err != nil { // a full disk keeps nobody from stopping
		s.Log.Error("record stop", "container", r.ID, "error", err)
	}
	c.notify(r.State.ExitCode, container.WaitConditionNotRunning)
	if c.autoRemoved() { // it was to be revived
		if err := s.remove(context.WithoutCancel(ctx), c, true); err != nil {
			s.Log.Error("remove stopped container", "container", r.ID, "error", err)
		}
	}
	return true
}

// beginStop notes that the user wants a running container down, so that no restart
// policy revives it, and gives the channel that its end closes; nil if it does not
// run any more.
func (c *ctr) beginStop() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rec.State.running() {
		return nil
	}
	c.rec.StoppedByAPI = true
	return c.exited
}

func (s *Service) end(ctx context.Context, c *ctr, sig unix.Signal, timeout time.Duration, exited <-chan struct{}) error {
	r := c.view()
	if err := s.kill(ctx, &r, sig); err != nil && !errs.Is(err, errs.Conflict) {
		s.Log.Warn("signal container", "container", r.ID, "signal", sig, "error", err)
	}
	if r.State.Status == container.StatePaused { // a frozen process cannot react
		if err := s.Supervisor.Resume(ctx, r.ID); err != nil {
			s.Log.Warn("thaw container to stop it", "container", r.ID, "error", err)
		}
	}
	var expired <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-exited:
		return nil
	case <-ctx.Done(): // Docker goes on to SIGKILL when the client leaves
	case <-expired:
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.kill(ctx, &r, unix.SIGKILL); err != nil && !errs.Is(err, errs.Conflict) {
		return err
	}
	return awaitKilled(&r, exited)
}

func awaitKilled(r *record, exited <-chan struct{}) error {
	t := time.NewTimer(killGrace)
	defer t.Stop()
	select {
	case <-exited:
		return nil
	case <-t.C:
		return errs.New(errs.Internal, "container %s did not exit within %s of SIGKILL", r.ID, killGrace)
	}
}

func stopSignal(r *record, sig string) (unix.Signal, error) {
	if sig == "" {
		sig = r.Config.StopSignal
	}
	if sig == "" {
		return unix.SIGTERM, nil
	}
	n, err := signal.ParseSignal(sig)
	if err != nil {
		return 0, errs.New(errs.InvalidArgument, "invalid signal: %s", sig)
	}
	return n, nil
}

// stopTimeout gives the time before SIGKILL; negative: wait for ever.
func (s *Service) stopTimeout(r *record, timeout *int) time.Duration {
	switch {
	case timeout != nil:
		return time.Duration(*timeout) * time.Second
	case r.Config.StopTimeout != nil:
		return time.Duration(*r.Config.StopTimeout) * time.Second
	case s.Defaults.StopTimeout != 0:
		return s.Defaults.StopTimeout
	}
	return defaultStopTimeout
}

// Kill sends a signal, SIGKILL by default, to the container's init.
func (s *Service) Kill(ctx context.Context, id, sig string) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	signum := unix.SIGKILL
	if sig != "" {
		if signum, err = signal.ParseSignal(sig); err != nil {
			return errs.New(errs.InvalidArgument, "invalid signal: %s", sig)
		}
		if !knownSignal(signum) {
			return errs.New(errs.InvalidArgument, "the linux daemon does not support signal %d", signum)
		}
	}
	r := c.view()
	if !r.State.running() {
		return errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	want, _ := stopSignal(&r, "")
	if signum == unix.SIGKILL || signum == want { // the user wants it to end: no restart
		c.beginStop()
	}
	c.mu.Lock()
	exited := c.exited
	c.mu.Unlock()
	if err := s.kill(ctx, &r, signum); err != nil {
		return err
	}
	if signum == unix.SIGKILL && exited != nil {
		return awaitKilled(&r, exited)
	}
	return nil
}

// knownSignal tells whether the kernel has a signal with that number.
func knownSignal(n unix.Signal) bool {
	for _, s := range signal.SignalMap {
		if s == n {
			return true
		}
	}
	return false
}

func (s *Service) kill(ctx context.Context, r *record, sig unix.Signal) error {
	err := s.Supervisor.Signal(ctx, r.ID, int(sig), false)
	if err != nil {
		if errs.Is(err, errs.NotFound) || errors.Is(err, unix.ESRCH) {
			return errs.New(errs.Conflict, "container %s is not running", r.ID)
		}
		return err
	}
	s.publish(r, events.ActionKill, "signal", strconv.Itoa(int(sig)))
	return nil
}

// Restart stops the container if it runs, and starts it.
func (s *Service) Restart(ctx context.Context, id, sig string, timeout *int) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	defer s.keep(ctx, c)()
	if err := s.stop(ctx, c, sig, timeout); err != nil && !errs.Is(err, errs.NotModified) {
		return errs.New(errs.KindOf(err), "Cannot restart container %s: %w", id, err)
	}
	if err := s.Start(ctx, id); err != nil && !errs.Is(err, errs.NotModified) {
		return errs.New(errs.KindOf(err), "Cannot restart container %s: %w", id, err)
	}
	r := c.view()
	s.publish(&r, events.ActionRestart)
	return nil
}

// keep holds --rm off between the stop and the start of a restart. release removes a
// container that nobody has started, or that has ended again.
func (s *Service) keep(ctx context.Context, c *ctr) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rec.Host.AutoRemove {
		return func() {}
	}
	c.kept++
	return func() {
		c.op.Lock()
		defer c.op.Unlock()
		c.mu.Lock()
		c.kept--
		status := c.rec.State.Status
		c.mu.Unlock()
		if status != container.StateExited || !c.autoRemoved() {
			return
		}
		if err := s.remove(context.WithoutCancel(ctx), c, true); err != nil {
			s.Log.Error("remove container after restart", "container", c.rec.ID, "error", err)
		}
	}
}

// autoRemoved tells whether the end of a run is the end of the container.
func (c *ctr) autoRemoved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Host.AutoRemove && c.kept == 0
}
