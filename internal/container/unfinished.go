package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// abandoned are the directories of checkpoints that a supervisor has not finished and
// that none is at any more, by container.
type abandoned map[string][]string

// findAbandoned looks in the containers' own directories. Who wants to know whether
// their runs have gone on asks the supervisor afterwards: not before.
func (s *Service) findAbandoned() abandoned {
	all := abandoned{}
	for _, c := range s.all() {
		root := s.store.file(c.rec.ID, checkpointsDir)
		entries, err := os.ReadDir(root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.Log.Warn("look for unfinished checkpoints", "container", c.rec.ID, "error", err)
		}
		for _, e := range entries {
			if !e.IsDir() || !wire.IsUnfinished(e.Name()) {
				continue
			}
			dir := filepath.Join(root, e.Name())
			busy, err := isLocked(dir)
			if err != nil {
				s.Log.Warn("look at unfinished checkpoint", "container", c.rec.ID, "directory", dir, "error", err)
			} else if !busy {
				all[c.rec.ID] = append(all[c.rec.ID], dir)
			}
		}
	}
	return all
}

// isLocked tells whether a supervisor writes a checkpoint there: one that has
// outlived a daemon goes on with what that one wanted.
func isLocked(dir string) (bool, error) {
	f, err := os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // read only
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// sweepAbandoned removes unfinished checkpoints of runs that go on: they were not
// dumped to their end. Of a run that has ended there may be nothing else, so that
// one stays.
func (s *Service) sweepAbandoned(all abandoned, live []wire.Container) {
	runs := map[string]bool{}
	for _, w := range live {
		runs[w.ID] = w.Exit == nil
	}
	for id, dirs := range all {
		c, err := s.find(id)
		if err != nil {
			continue // removed meanwhile
		}
		r := c.view()
		for _, dir := range dirs {
			swept := false
			if runs[id] {
				swept, err = sweepOfRun(&r, dir)
			}
			switch {
			case err != nil:
				s.Log.Warn("remove unfinished checkpoint", "container", id, "directory", dir, "error", err)
			case !swept:
				s.Log.Warn("a checkpoint was not finished and is kept: it may be all that is left of a run", "container", id, "directory", dir)
			}
		}
	}
}

// sweepOfRun removes an unfinished checkpoint unless it is of an earlier run.
func sweepOfRun(r *record, dir string) (bool, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return false, fmt.Errorf("find its age: %w", err)
	}
	if info.ModTime().Before(r.State.StartedAt) {
		return false, nil
	}
	return true, os.RemoveAll(dir)
}
