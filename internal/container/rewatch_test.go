package container

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// TestNewSupervisorStartsNothing: what does not run when a supervisor dies was
// ended by somebody or waits for its restart, which comes in its time.
func TestNewSupervisorStartsNothing(t *testing.T) {
	for _, status := range []container.ContainerState{container.StateExited, container.StateRestarting} {
		t.Run(string(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := newService(t, &fakeSupervisor{}, always(status))
				c.rec.StoppedByAPI = true
				s.rewatch()
				time.Sleep(time.Hour)
				if st := c.view().State.Status; st != status {
					t.Errorf("it is %s", st)
				}
			})
		})
	}
}

// TestNewSupervisorTellsExits: of runs that a new supervisor has found ended, and of
// those that it has not found at all.
func TestNewSupervisorTellsExits(t *testing.T) {
	for name, found := range map[string]*wire.Exit{"ended": {Code: 3, At: time.Now()}, "lost": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sup := &fakeSupervisor{}
				s, c := newService(t, sup, func(*record) {})
				if err := s.Start(t.Context(), "x"); err != nil {
					t.Fatal(err)
				}
				want := unknownExit
				if found != nil {
					want = found.Code
					sup.watch = func() []wire.Container { return []wire.Container{{ID: c.rec.ID, Exit: found}} }
				}
				s.rewatch()
				synctest.Wait()
				if st := c.view().State; st.Status != container.StateExited || st.ExitCode != want {
					t.Errorf("it is %s, code %d, want %d", st.Status, st.ExitCode, want)
				}
			})
		})
	}
}

// TestStartedAsSupervisorChanges: a run that begins after a new supervisor has told
// what it knows goes on.
func TestStartedAsSupervisorChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sup := &fakeSupervisor{}
		s, c := newService(t, sup, func(*record) {})
		sup.watch = func() []wire.Container { // it answers, and starts the container before we look
			if err := s.Start(t.Context(), "x"); err != nil {
				t.Error(err)
			}
			return nil
		}
		s.rewatch()
		synctest.Wait()
		if st := c.view().State; st.Status != container.StateRunning {
			t.Errorf("it is %s", st.Status)
		}
	})
}
