package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// exitStore keeps exits that the daemon has not recorded yet, one file each on
// the exec root's tmpfs, so that they survive the supervisor.
type exitStore struct{ dir string }

func (s exitStore) path(id string) string { return filepath.Join(s.dir, id+".json") }

func (s exitStore) save(id string, e wire.Exit) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path(id), data, 0o600, atomicfile.Volatile)
}

func (s exitStore) remove(id string) error {
	err := os.Remove(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s exitStore) load() (map[string]wire.Exit, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read recorded exits: %w", err)
	}
	all := map[string]wire.Exit{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read recorded exit: %w", err)
		}
		var exit wire.Exit
		if err := json.Unmarshal(data, &exit); err != nil {
			return nil, fmt.Errorf("read recorded exit of container %s: %w", id, err)
		}
		all[id] = exit
	}
	return all, nil
}
