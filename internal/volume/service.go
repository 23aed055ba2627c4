// Package volume is the daemon's store of local volumes: directories under the
// data root that outlive containers. It owns their names, records, data
// directories and mounts, and fills new ones from an image. Which container
// mounts what where does not belong here: the daemon tells through a callback
// who uses a volume.
//
// On disk a volume is <root>/volumes/<name>/ with
//
//	volume.json  its record, written before the data directory exists
//	_data        the data, where containers get it; mount point of volumes with options
//	.populating  exists while an image's content is being copied into _data
//
// Invariants: a directory with a record is a volume, and is listed; removal
// renames it out of the way in one step, so a volume is never half there; what a
// killed daemon left half done is completed or undone at start.
package volume

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Driver is the name of the only volume driver.
const Driver = "local"

// AnonymousLabel marks volumes that got a generated name.
const AnonymousLabel = "com.docker.volume.anonymous"

// Options configure a Service.
type Options struct {
	// Root is the daemon's data root.
	Root string
	// InUse gives the IDs of the containers that have the volume, running or
	// not; nil: none ever do. It is called with the volume locked, so it must
	// not call the service. A container that is being created must be reported
	// from before Ensure is called for it until it is gone.
	InUse func(name string) []string
	// Events takes the volumes' events; nil: nobody listens.
	Events engine.Publisher
	Log    *slog.Logger
}

// Service implements engine.Volumes, engine.VolumeMounts and engine.VolumeUse.
// It is safe for concurrent use; operations on different volumes do not wait
// for each other.
type Service struct {
	dir     string // <root>/volumes
	inUse   func(name string) []string
	events  engine.Publisher
	log     *slog.Logger
	wg      sync.WaitGroup // removal of leftovers
	pruning atomic.Bool

	mu      sync.Mutex
	volumes map[string]*vol
}

var (
	_ engine.Volumes      = (*Service)(nil)
	_ engine.VolumeMounts = (*Service)(nil)
	_ engine.VolumeUse    = (*Service)(nil)
)

// vol is one volume. Its record does not change.
type vol struct {
	record
	dir   string
	ready atomic.Bool // created, not yet removed

	mu sync.Mutex
	// gone: whoever waited for the lock looks the name up again.
	gone    bool
	mounted bool
	holders map[string]struct{}
}

// data is the directory that containers get.
func (v *vol) data() string { return filepath.Join(v.dir, dataDir) }

// New opens the store under the data root, which it creates if needed, and
// repairs what a killed daemon left. Close it.
func New(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		dir: filepath.Join(o.Root, "volumes"), inUse: o.InUse, events: o.Events, log: o.Log,
		volumes: map[string]*vol{},
	}
	if s.inUse == nil {
		s.inUse = func(string) []string { return nil }
	}
	if s.events == nil {
		s.events = discard{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(s.dir, 0o701); err != nil {
		return nil, fmt.Errorf("create volume directory: %w", err)
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return s, nil
}

type discard struct{}

func (discard) Publish(events.Type, events.Action, string, map[string]string) {}

// Close waits for background work. Volumes stay mounted for their containers.
func (s *Service) Close() { s.wg.Wait() }

// find gives a volume by name; Docker's text says which operation looked.
func (s *Service) find(name string) (*vol, error) {
	s.mu.Lock()
	v := s.volumes[name]
	s.mu.Unlock()
	if v == nil || !v.ready.Load() {
		return nil, errs.New(errs.NotFound, "get %s: no such volume", name)
	}
	return v, nil
}

// lock gives a volume by name, locked; the caller unlocks it.
func (s *Service) lock(name string) (*vol, error) {
	for {
		s.mu.Lock()
		v := s.volumes[name]
		s.mu.Unlock()
		if v == nil {
			return nil, errs.New(errs.NotFound, "get %s: no such volume", name)
		}
		v.mu.Lock()
		if !v.gone {
			return v, nil
		}
		v.mu.Unlock()
	}
}

// forget takes a locked volume out of the store.
func (s *Service) forget(v *vol) {
	v.gone = true
	v.ready.Store(false)
	s.mu.Lock()
	delete(s.volumes, v.Name)
	s.mu.Unlock()
}

// all lists the volumes by name.
func (s *Service) all() []*vol {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.volumes))
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(v *vol) bool { return !v.ready.Load() })
	slices.SortFunc(all, func(a, b *vol) int { return compare(a.Name, b.Name) })
	return all
}

// users gives who has the volume, as far as InUse knows.
func (s *Service) users(name string) []string {
	ids := slices.Clone(s.inUse(name))
	slices.Sort(ids)
	return slices.Compact(ids)
}

// api is the volume as the API shows it.
func (v *vol) api() volumetypes.Volume {
	return volumetypes.Volume{
		Name: v.Name, Driver: v.Driver, Scope: "local", Mountpoint: v.data(),
		CreatedAt: v.CreatedAt.Local().Format(time.RFC3339),
		Labels:    maps.Clone(v.Labels), Options: maps.Clone(v.Options),
	}
}

func (s *Service) publish(action events.Action, v *vol) {
	s.events.Publish(events.VolumeEventType, action, v.Name, map[string]string{"driver": v.Driver})
}
