package container

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// TestEndAmidRestart: whoever ends a container while its restart is in the
// supervisor's hands ends what was started.
func TestEndAmidRestart(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*Service) error
		left bool
	}{
		"stop":         {func(s *Service) error { return s.Stop(t.Context(), "x", "", nil) }, true},
		"force remove": {func(s *Service) error { return s.Remove(t.Context(), "x", true, false) }, false},
	} {
		t.Run(name, func(t *testing.T) { endAmidRestart(t, c.end, c.left) })
	}
}

func endAmidRestart(t *testing.T, end func(*Service) error, left bool) {
	starts, goOn, signals := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	sup := &fakeSupervisor{
		start:  func(context.Context) error { close(starts); <-goOn; return nil },
		signal: func(sig int) { signals <- sig },
	}
	s, c := newService(t, sup, always(container.StateRestarting))
	s.restartAfter(c, 0)
	<-starts
	done := make(chan error, 1)
	go func() { done <- end(s) }()
	time.Sleep(20 * time.Millisecond) // most likely it waits for the start now
	close(goOn)
	select {
	case <-signals:
	case err := <-done:
		t.Fatalf("%v, and the container runs, recorded as %s", err, c.view().State.Status)
	}
	s.onExit(c, wire.Exit{Code: 137, At: time.Now()})
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := s.find("x"); (err == nil) != left {
		t.Errorf("find it afterwards: %v", err)
	}
	if r := c.view(); left && (r.State.Status != container.StateExited || !r.StoppedByAPI) {
		t.Errorf("it is %s", r.State.Status)
	}
}

// TestRefusedRemovalKeepsRestarts: what fails leaves everything as it was.
func TestRefusedRemovalKeepsRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, &fakeSupervisor{}, always(container.StateRestarting))
		s.restartAfter(c, time.Minute)
		if err := s.Remove(t.Context(), "x", false, false); !errs.Is(err, errs.Conflict) {
			t.Errorf("remove: %v", err)
		}
		time.Sleep(time.Hour)
		if st := c.view().State.Status; st != container.StateRunning {
			t.Errorf("it is %s", st)
		}
	})
}

// TestFailedStartAmidRestarts: a user's start takes the place of the next restart.
// When it fails, the container waits for that no longer, unless the supervisor
// alone is to blame.
func TestFailedStartAmidRestarts(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  errs.Kind
		after container.ContainerState
	}{
		{"for good", errs.Internal, container.StateExited},
		{"supervisor away", errs.Unavailable, container.StateRunning},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { failedStartAmidRestarts(t, c.kind, c.after) })
		})
	}
}

func failedStartAmidRestarts(t *testing.T, kind errs.Kind, after container.ContainerState) {
	starts := 0
	sup := &fakeSupervisor{start: func(context.Context) error {
		if starts++; starts == 1 {
			return errs.New(kind, "no start today")
		}
		return nil
	}}
	s, c := newService(t, sup, always(container.StateRestarting))
	s.restartAfter(c, time.Minute)
	ended, err := s.Wait(t.Context(), "x", container.WaitConditionNotRunning)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), "x"); !errs.Is(err, kind) {
		t.Errorf("start: %v", err)
	}
	time.Sleep(time.Hour)
	if st := c.view().State.Status; st != after {
		t.Errorf("it is %s, want %s", st, after)
	}
	if answered := len(ended) == 1; answered != (after == container.StateExited) {
		t.Errorf("wait was answered: %t", answered)
	}
}

// TestCloseAmidRestart: a daemon that ends lets a start that the supervisor has
// begun come to its end, network and all.
func TestCloseAmidRestart(t *testing.T) {
	starts := make(chan struct{})
	sup := &fakeSupervisor{start: func(ctx context.Context) error {
		close(starts)
		select {
		case <-ctx.Done(): // as the client does
			return errs.New(errs.Unavailable, "supervisor start: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
			return nil
		}
	}}
	s, c := newService(t, sup, func(r *record) {
		always(container.StateRestarting)(r)
		r.Host.NetworkMode = "bridge"
	})
	s.restartAfter(c, 0)
	<-starts
	s.Close()
	if st := c.view().State.Status; st != container.StateRunning {
		t.Errorf("it is %s", st)
	}
	if gone := s.Networks.(*fakeNetworks).detached; len(gone) > 0 {
		t.Errorf("the container runs without its network, which was taken from %q", gone)
	}
}

// TestStopAmidExit: a stop that finds the container ended, and about to start
// again, keeps it down.
func TestStopAmidExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, &fakeSupervisor{}, always(container.StateExited))
		if err := s.Start(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		s.onExit(c, wire.Exit{Code: 1, At: time.Now()})
		if st := c.view().State.Status; st != container.StateRestarting {
			t.Fatalf("it is %s", st)
		}
		if exited := c.beginStop(); exited != nil {
			t.Error("it is taken for running")
		}
		if err := s.Stop(t.Context(), "x", "", nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if st := c.view().State.Status; st != container.StateExited {
			t.Errorf("it is %s", st)
		}
	})
}

// TestRestartKeepsAutoRemove: a container with --rm outlives the stop of a restart,
// and is removed after its next run, by this daemon or another.
func TestRestartKeepsAutoRemove(t *testing.T) {
	s, c, sup := runningOnce(t)
	if err := s.Restart(t.Context(), "x", "", nil); err != nil {
		t.Fatal(err)
	}
	if st := c.view().State.Status; st != container.StateRunning {
		t.Fatalf("it is %s", st)
	}
	if r := s.saved(t, c); !r.Host.AutoRemove {
		t.Error("the record has lost --rm")
	}
	sup.signal(0)
	if _, err := s.find("x"); !errs.Is(err, errs.NotFound) {
		t.Errorf("find it after its end: %v", err)
	}
}

// TestRestartThatFailsAutoRemoves: nobody starts it any more.
func TestRestartThatFailsAutoRemoves(t *testing.T) {
	s, _, sup := runningOnce(t)
	sup.start = func(context.Context) error { return errs.New(errs.Internal, "no start today") }
	if err := s.Restart(t.Context(), "x", "", nil); !errs.Is(err, errs.Internal) {
		t.Errorf("restart: %v", err)
	}
	if _, err := s.find("x"); !errs.Is(err, errs.NotFound) {
		t.Errorf("find it: %v", err)
	}
}

// TestRestartOfWhatEndsAtOnceAutoRemoves: before the restart has come to its end.
func TestRestartOfWhatEndsAtOnceAutoRemoves(t *testing.T) {
	s, c, _ := runningOnce(t)
	release := s.keep(t.Context(), c)
	s.onExit(c, wire.Exit{Code: 1, At: time.Now()})
	if _, err := s.find("x"); err != nil {
		t.Fatalf("find it amid its restart: %v", err)
	}
	release()
	if _, err := s.find("x"); !errs.Is(err, errs.NotFound) {
		t.Errorf("find it: %v", err)
	}
}

// runningOnce gives a running container with --rm, which ends by any signal.
func runningOnce(t *testing.T) (*Service, *ctr, *fakeSupervisor) {
	t.Helper()
	sup := &fakeSupervisor{}
	s, c := newService(t, sup, func(r *record) { r.Host.AutoRemove = true })
	sup.signal = func(int) { s.onExit(c, wire.Exit{Code: 137, At: time.Now()}) }
	if err := s.Start(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	return s, c, sup
}
