package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"
	"github.com/moby/sys/user"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// record is the durable form of a container: one JSON document.
type record struct {
	ID       string
	Name     string // without the slash
	Created  time.Time
	Path     string
	Args     []string
	Config   *container.Config
	Host     *container.HostConfig
	Network  map[string]*networktypes.EndpointSettings `json:",omitempty"` // as requested
	ImageID  string
	Platform ocispec.Platform
	Manifest *ocispec.Descriptor `json:",omitempty"`
	Mounts   []mountPoint        `json:",omitempty"`
	Links    []link              `json:",omitempty"`

	Labels   labels `json:",omitzero"`  // of SELinux
	AppArmor string `json:",omitempty"` // profile of the current or last run, before the first the one that was asked for

	State        state
	RestartCount int
	StoppedByAPI bool // the user stopped it: unless-stopped and always hold off
	Reviving     bool `json:",omitempty"` // it is being ended in order to start again, whatever its restart policy
	volumesToo   bool // its removal takes its anonymous volumes along; see store.beginRemoval

	// Operational network data of the current or last run.
	Endpoints map[string]*networktypes.EndpointSettings `json:",omitempty"`
	Ports     networktypes.PortMap                      `json:",omitempty"`
}

// state is where the container is in its life.
type state struct {
	Status     container.ContainerState
	Pid        int
	ExitCode   int
	Error      string
	OOMKilled  bool
	StartedAt  time.Time
	FinishedAt time.Time
	// Remap are the ids of the user namespace of the current or last run, nil if that
	// is the machine's.
	Remap *user.IdentityMapping `json:",omitempty"`
}

func (s state) running() bool {
	return s.Status == container.StateRunning || s.Status == container.StatePaused
}

// recorded tells whether an exit is the last that the record has.
func (r *record) recorded(exit *wire.Exit) bool { return exit.At.Equal(r.State.FinishedAt) }

// store keeps records below a directory, one directory per container.
type store struct{ root string }

const recordFile = "container.json"

func (s store) dir(id string) string { return filepath.Join(s.root, id) }

func (s store) file(id, name string) string { return filepath.Join(s.root, id, name) }

// save writes the record. Containers that are removed when they exit do not
// survive a power loss, so theirs need not be synced.
func (s store) save(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record of container %s: %w", r.ID, err)
	}
	d := atomicfile.Durable
	if r.Host.AutoRemove {
		d = atomicfile.Volatile
	}
	if err := atomicfile.Write(s.file(r.ID, recordFile), data, 0o600, d); err != nil {
		return fmt.Errorf("save container %s: %w", r.ID, err)
	}
	return nil
}

// create makes the container's directory. Its mode keeps others out of
// everything below, set-user-ID files of images included (CVE-2021-41091).
func (s store) create(id string) error {
	if err := os.Mkdir(s.dir(id), 0o710); err != nil {
		return fmt.Errorf("create directory of container %s: %w", id, err)
	}
	return nil
}

// removalFile says that a container is being removed, and with "volumes" in it, that
// its anonymous volumes are, too. A file of its own costs a tenth of saving the
// record, and is whole without a sync.
const removalFile = "removing"

// beginRemoval lets a daemon after this one go on with a removal.
func (s store) beginRemoval(id string, volumes bool) error {
	var data []byte
	if volumes {
		data = []byte("volumes")
	}
	if err := os.WriteFile(s.file(id, removalFile), data, 0o600); err != nil {
		return fmt.Errorf("record removal of container %s: %w", id, err)
	}
	return nil
}

// loadRemoval brings a removal that was begun into the record.
func (s store) loadRemoval(r *record) error {
	data, err := os.ReadFile(s.file(r.ID, removalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read removal of container %s: %w", r.ID, err)
	}
	r.State.Status, r.volumesToo = container.StateRemoving, len(data) > 0
	return nil
}

func (s store) remove(id string) error {
	// The record goes first: a directory without one is removed at start.
	if err := os.Remove(s.file(id, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of container %s: %w", id, err)
	}
	if err := os.RemoveAll(s.dir(id)); err != nil {
		return fmt.Errorf("remove directory of container %s: %w", id, err)
	}
	return nil
}

// load reads all records. broken lists directories without a record: creations that
// a crash cut short, and containers with --rm whose record, which is not synced, a
// power loss has left empty. A record that exists but cannot be decoded is an error,
// never garbage: it is the user's container.
func (s store) load() (records []*record, broken []string, err error) {
	if err := os.MkdirAll(s.root, 0o710); err != nil {
		return nil, nil, fmt.Errorf("create container store: %w", err)
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, nil, fmt.Errorf("read container store: %w", err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(s.file(e.Name(), recordFile))
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.Trim(data, "\x00")) == 0 {
			broken = append(broken, e.Name())
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read record of container %s: %w", e.Name(), err)
		}
		r := &record{}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, nil, fmt.Errorf("decode record of container %s: %w", e.Name(), err)
		}
		if err := s.loadRemoval(r); err != nil {
			return nil, nil, err
		}
		atomicfile.Sweep(s.dir(e.Name()))
		records = append(records, r)
	}
	return records, broken, nil
}
