package container

import (
	"sync"
	"testing"
)

// TestRecordsAreSavedInOrder: when changes come at once, what is on disk afterwards
// is the last of them.
func TestRecordsAreSavedInOrder(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, func(r *record) { r.Host.AutoRemove = true }) // saved without a sync
	for range 50 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.update(c, func(r *record) { r.RestartCount++ }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got, want := s.saved(t, c).RestartCount, c.view().RestartCount; got != want {
			t.Fatalf("change %d is on disk, the last was %d", got, want)
		}
	}
}
