package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/gantry-run/gantry/internal/atomicfile"
)

// Names inside a volume's directory, and of directories that are being removed.
const (
	recordFile    = "volume.json"
	dataDir       = "_data"
	populating    = ".populating"
	removedPrefix = ".removed-"
	removedSuffix = 17 // "-" and 16 digits
)

// record is what a volume's file holds.
type record struct {
	Name      string
	Driver    string
	Labels    map[string]string `json:",omitempty"`
	Options   map[string]string `json:",omitempty"`
	CreatedAt time.Time
	// NoLabels and NoOptions tell null from {}, which the API passes on.
	NoLabels  bool `json:",omitempty"`
	NoOptions bool `json:",omitempty"`
}

func (r record) anonymous() bool { _, ok := r.Labels[AnonymousLabel]; return ok }

// save writes the record. Anonymous volumes are not worth a disk flush: should a
// power loss take the record, the volume is adopted again by its name.
func (r record) save(dir string) error {
	r.NoLabels, r.NoOptions = r.Labels == nil, r.Options == nil
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	d := atomicfile.Durable
	if r.anonymous() {
		d = atomicfile.Volatile
	}
	return atomicfile.Write(filepath.Join(dir, recordFile), b, 0o600, d)
}

func loadRecord(dir string) (record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, err
	}
	if r.Name != filepath.Base(dir) {
		return record{}, fmt.Errorf("record names volume %q", r.Name)
	}
	if r.Labels == nil && !r.NoLabels {
		r.Labels = map[string]string{}
	}
	if r.Options == nil && !r.NoOptions {
		r.Options = map[string]string{}
	}
	return r, nil
}

// load reads all volumes and settles what was under way when a daemon died.
func (s *Service) load(ctx context.Context) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, dir := e.Name(), filepath.Join(s.dir, e.Name())
		switch {
		case strings.HasPrefix(name, removedPrefix):
			s.wg.Go(func() {
				if err := os.RemoveAll(dir); err != nil {
					s.log.WarnContext(ctx, "remove rest of a volume", "path", dir, "err", err)
				}
			})
		case !e.IsDir() || !validName.MatchString(name):
			s.log.WarnContext(ctx, "not a volume, ignored", "path", dir)
		default:
			if err := s.loadVolume(ctx, name, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) loadVolume(ctx context.Context, name, dir string) error {
	r, err := loadRecord(dir)
	if err != nil {
		_, statErr := os.Lstat(filepath.Join(dir, dataDir))
		if errors.Is(err, fs.ErrNotExist) && errors.Is(statErr, fs.ErrNotExist) {
			// Creation died before the record was there: nothing is in it.
			atomicfile.Sweep(dir)
			if err := os.Remove(dir); err != nil {
				s.log.WarnContext(ctx, "directory without volume, ignored", "path", dir, "err", err)
			}
			return nil
		}
		// There may be data: it is kept under the directory's name.
		s.log.WarnContext(ctx, "volume without valid record, adopted", "volume", name, "err", err)
		if r, err = adopt(name, dir); err != nil {
			return err
		}
	}
	v := &vol{record: r, dir: dir, holders: map[string]struct{}{}}
	atomicfile.Sweep(dir)
	if err := os.Mkdir(v.data(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if v.needsMount() {
		if v.mounted, err = mountinfo.Mounted(v.data()); err != nil {
			return fmt.Errorf("find mount of volume %q: %w", name, err)
		}
	}
	if err := v.undoPopulating(); err != nil {
		return fmt.Errorf("undo interrupted copy into volume %q: %w", name, err)
	}
	v.ready.Store(true)
	s.volumes[name] = v
	return nil
}

// adopt makes a record for a directory with data.
func adopt(name, dir string) (record, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return record{}, err
	}
	r := record{Name: name, Driver: Driver, CreatedAt: info.ModTime()}
	if anonymousName.MatchString(name) {
		r.Labels = map[string]string{AnonymousLabel: ""}
	}
	return r, r.save(dir)
}

// undoPopulating empties a volume into which a copy was interrupted, so that it
// is fresh again. What a mount brings is not touched: it may be anyone's.
func (v *vol) undoPopulating() error {
	marker := filepath.Join(v.dir, populating)
	if _, err := os.Lstat(marker); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !v.needsMount() {
		if err := empty(v.data()); err != nil {
			return err
		}
	}
	return os.Remove(marker)
}

// empty removes a directory's content.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
