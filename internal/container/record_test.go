package container

import (
	"os"
	"slices"
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

// TestEmptyRecords: a power loss leaves them of writes that were not synced, with or
// without a size. They are no containers, and keep no daemon from starting; one with
// something else in it does.
func TestEmptyRecords(t *testing.T) {
	s := store{root: t.TempDir()}
	write := func(id, text string) {
		t.Helper()
		_ = s.create(id) // it may be there
		if err := os.WriteFile(s.file(id, recordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", "")
	write("zeros", string(make([]byte, 100)))
	write("whole", `{"ID":"whole"}`)
	records, broken, err := s.load()
	if err != nil || len(records) != 1 || records[0].ID != "whole" || !slices.Equal(broken, []string{"empty", "zeros"}) {
		t.Errorf("%d records, broken %q, %v", len(records), broken, err)
	}
	write("empty", `{"ID":`)
	if _, _, err := s.load(); err == nil {
		t.Error("a record that is cut off is taken for none")
	}
}
