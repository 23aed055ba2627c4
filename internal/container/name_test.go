package container

import (
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

// TestFindHalfMade: a container that is being created has its name, and is not
// there yet.
func TestFindHalfMade(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, func(*record) {})
	half := newCtr(record{ID: newID(), Config: &container.Config{}, Host: &container.HostConfig{}})
	if _, err := s.reserve(half, "half"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "half", true, false); !errs.Is(err, errs.NotFound) {
		t.Errorf("remove it: %v", err)
	}
	if _, err := s.reserve(newCtr(record{ID: newID()}), "half"); !errs.Is(err, errs.Conflict) {
		t.Errorf("take its name: %v", err)
	}
	for _, ref := range []string{"x", "/x", c.rec.ID, c.rec.ID[:12]} {
		if got, err := s.find(ref); got != c {
			t.Errorf("find %s: %v", ref, err)
		}
	}
	s.byID[half.rec.ID] = half
	if got, err := s.find("half"); got != half {
		t.Errorf("find it, made: %v", err)
	}
}
