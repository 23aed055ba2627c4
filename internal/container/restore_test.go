package container

import (
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// TestExitRecordedBeforeACrash: a daemon that was killed between record and forget
// has treated the exit; its successor only lets the supervisor drop it.
func TestExitRecordedBeforeACrash(t *testing.T) {
	for _, status := range []container.ContainerState{container.StateExited, container.StateRestarting} {
		t.Run(string(status), func(t *testing.T) {
			sup, at := &fakeSupervisor{}, time.Now()
			s, c := newService(t, sup, func(r *record) {
				r.Host.RestartPolicy.Name, r.State.Status = container.RestartPolicyOnFailure, status
				r.State.FinishedAt, r.State.ExitCode, r.RestartCount = at.UTC(), 3, 1
			})
			sup.watch = func() []wire.Container {
				return []wire.Container{{ID: c.rec.ID, StartedAt: at, Exit: &wire.Exit{Code: 3, At: at.Round(0)}}}
			}
			n := s.next(t)
			if !slices.Equal(sup.forgotten, []string{c.rec.ID}) {
				t.Errorf("forgotten: %q", sup.forgotten)
			}
			if c, err := n.find("x"); err != nil || c.view().RestartCount != 1 {
				t.Errorf("restarts: %v, %v", c.view().RestartCount, err)
			}
		})
	}
}

// TestExitToldTwice: by an event and by a new supervisor's list. The run that has
// begun in between goes on.
func TestExitToldTwice(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, func(*record) {})
	exit := wire.Exit{Code: 3, At: time.Now()}
	for range 2 {
		if err := s.Start(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		s.onExit(c, exit)
	}
	if st := c.view().State; st.Status != container.StateRunning {
		t.Errorf("it is %s", st.Status)
	}
}
