package container

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// said is a log that can be read while others write to it.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

// TestAbandonedCheckpoints: what a crash has cut short goes if the container still
// runs; what may be the only copy of it stays, and somebody is told; so does what a
// supervisor is at. Both daemons do so: the next one, and one whose supervisor died.
func TestAbandonedCheckpoints(t *testing.T) {
	for _, restart := range []bool{true, false} {
		for _, ended := range []bool{true, false} {
			log, sup := &said{}, &fakeSupervisor{}
			s, c := newService(t, sup, func(r *record) {
				r.State.Status, r.State.StartedAt = container.StateRunning, time.Now().Add(-time.Minute)
			})
			s.Log = slog.New(slog.NewTextHandler(log, nil))
			c.exited = make(chan struct{})
			dir := func(name string) string {
				return filepath.Join(s.store.file(c.rec.ID, checkpointsDir), name)
			}
			crashed, earlier, busy := dir(wire.Unfinished("one")+"1"), dir(wire.Unfinished("one")+"2"), dir(wire.Unfinished("two")+"3")
			for _, d := range []string{crashed, earlier, busy, dir("whole")} {
				if err := os.MkdirAll(d, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(d, "pages"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			past := time.Now().Add(-time.Hour)
			if err := os.Chtimes(earlier, past, past); err != nil {
				t.Fatal(err)
			}
			lock, err := os.Open(busy)
			if err == nil {
				err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			w := wire.Container{ID: c.rec.ID, Pid: 42, StartedAt: c.rec.State.StartedAt}
			if ended {
				w.Exit = &wire.Exit{Code: 137, At: time.Now(), Dumped: true}
			}
			sup.watch = func() []wire.Container { return []wire.Container{w} }
			if restart {
				s = s.next(t)
			} else {
				s.rewatch()
			}
			var left []string
			entries, err := os.ReadDir(dir(""))
			for _, e := range entries {
				left = append(left, dir(e.Name()))
			}
			want := []string{crashed, earlier, busy, dir("whole")}
			if !ended {
				want = want[1:]
			}
			if slices.Sort(want); err != nil || !slices.Equal(left, want) {
				t.Errorf("restart %t, ended %t: %q are left, %v", restart, ended, left, err)
			}
			for d, told := range map[string]bool{crashed: ended, earlier: true, busy: false, dir("whole"): false} {
				if log.has(d) != told {
					t.Errorf("restart %t, ended %t: %s in the log: %t", restart, ended, d, !told)
				}
			}
			if list, err := s.Checkpoints(t.Context(), "x", ""); err != nil || len(list) != 1 || list[0].Name != "whole" {
				t.Errorf("list: %v, %v", list, err)
			}
			_ = lock.Close()
			s.Close()
		}
	}
}
