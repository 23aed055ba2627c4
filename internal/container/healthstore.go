package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/atomicfile"
)

// healthRecord is the health of a container's latest run as the next daemon finds
// it. It is written after every check, hence volatile: what it is about ends with
// the machine.
type healthRecord struct {
	Pid    int // of the run
	Health container.Health
}

const healthSuffix = ".health"

func (s *Service) healthFile(id string) string { return filepath.Join(s.Volatile, id+healthSuffix) }

func (s *Service) saveHealth(r *record, h *container.Health) error {
	data, err := json.Marshal(healthRecord{r.State.Pid, *h})
	if err != nil {
		return err
	}
	return atomicfile.Overwrite(s.healthFile(r.ID), data, 0o600)
}

// readHealth gives what was written last, nil if there is nothing.
func (s *Service) readHealth(id string) *healthRecord {
	h := &healthRecord{}
	data, err := os.ReadFile(s.healthFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, h)
	}
	if err != nil {
		s.Log.Warn("read health of container", "container", id, "error", err)
		return nil
	}
	return h
}

// firstHealth is what is known when the watching of a run begins: nothing, or what
// an earlier daemon found out.
func (s *Service) firstHealth(r *record) *container.Health {
	if h := s.readHealth(r.ID); h != nil {
		if h.Pid == r.State.Pid && len(h.Health.Log) > 0 && h.Health.Log[0].Start.After(r.State.StartedAt) {
			return &h.Health
		}
		s.dropHealth(r.ID)
	}
	return &container.Health{Status: container.Starting, Log: []*container.HealthcheckResult{}}
}

// showHealth shows the health of a container whose run is over.
func (s *Service) showHealth(c *ctr) {
	if h := s.readHealth(c.rec.ID); h != nil {
		c.setHealth(&h.Health)
		c.endHealth()
	}
}

func (s *Service) dropHealth(id string) {
	if err := os.Remove(s.healthFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Log.Warn("remove health of container", "container", id, "error", err)
	}
}

// sweepHealth makes the directory and removes what no container owns.
func (s *Service) sweepHealth() error {
	if err := os.MkdirAll(s.Volatile, 0o700); err != nil {
		return fmt.Errorf("create directory for volatile state: %w", err)
	}
	entries, err := os.ReadDir(s.Volatile)
	if err != nil {
		return fmt.Errorf("read volatile state: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), healthSuffix)
		if !ok || s.byID[id] == nil {
			if err := os.Remove(filepath.Join(s.Volatile, e.Name())); err != nil {
				return fmt.Errorf("remove volatile state of no container: %w", err)
			}
		}
	}
	return nil
}
