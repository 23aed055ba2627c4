package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// checkpointsDir is where a container's checkpoints are in its directory.
const checkpointsDir = "checkpoints"

// checkpointConfig is config.json of a checkpoint: what it is of.
type checkpointConfig struct {
	CheckpointID string
	ContainerID  string
	ImageID      string
	Created      time.Time
	Exit         bool                  // the container ended with it
	Addresses    map[string]netip.Addr `json:",omitempty"` // by network
}

const checkpointConfigFile = "config.json"

// maxCheckpointConfig bounds what is read of one, in bytes.
const maxCheckpointConfig = 1 << 20

func newCheckpointConfig(r *record, name string, exit bool) checkpointConfig {
	cfg := checkpointConfig{
		CheckpointID: name, ContainerID: r.ID, ImageID: r.ImageID, Created: time.Now().UTC(), Exit: exit,
		Addresses: map[string]netip.Addr{},
	}
	for network, ep := range r.Endpoints {
		if ep != nil && ep.IPAddress.IsValid() {
			cfg.Addresses[network] = ep.IPAddress
		}
	}
	return cfg
}

// checkCheckpointName keeps names plain: a name must not lead out of its directory.
// Rule and text are Docker's.
func checkCheckpointName(name string) error {
	if !namePattern().MatchString(name) || name[0] == '/' || strings.HasSuffix(name, ".") {
		return errs.New(errs.InvalidArgument, "invalid checkpoint ID %q, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

// checkpointRoot is the directory of all checkpoints; dir is the caller's wish.
func (s *Service) checkpointRoot(r *record, dir string) (string, error) {
	if dir == "" {
		return s.store.file(r.ID, checkpointsDir), nil
	}
	if !filepath.IsAbs(dir) {
		return "", errs.New(errs.InvalidArgument, "checkpoint directory %q is not an absolute path", dir)
	}
	return filepath.Clean(dir), nil
}

// lookCheckpoint gives the directory of a checkpoint, and what is there; nil: nothing.
func (s *Service) lookCheckpoint(r *record, k engine.Checkpoint) (dir string, found fs.FileInfo, err error) {
	root, err := s.checkpointRoot(r, k.Dir)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(root, k.Name)
	found, err = os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("find checkpoint %s of container %s: %w", k.Name, r.ID, err)
	}
	return dir, found, nil
}

// findCheckpoint gives the directory of a checkpoint that is there.
func (s *Service) findCheckpoint(r *record, id string, k engine.Checkpoint) (string, error) {
	dir, found, err := s.lookCheckpoint(r, k)
	switch {
	case err != nil:
		return "", err
	case found == nil:
		return "", errs.New(errs.NotFound, "checkpoint %s does not exist for container %s", k.Name, id)
	case !found.IsDir():
		return "", errs.New(errs.InvalidArgument, "%s exists and is not a directory", dir)
	}
	return dir, nil
}

// newCheckpoint gives the directory of a checkpoint that is not there yet.
func (s *Service) newCheckpoint(r *record, id string, k engine.Checkpoint) (string, error) {
	dir, found, err := s.lookCheckpoint(r, k)
	switch {
	case err != nil:
		return "", err
	case found != nil && found.IsDir():
		return "", errs.New(errs.Conflict, "checkpoint with name %s already exists for container %s", k.Name, id)
	case found != nil:
		return "", errs.New(errs.Conflict, "%s exists and is not a directory", dir)
	}
	return dir, os.MkdirAll(filepath.Dir(dir), 0o700)
}

// Checkpoint implements engine.Containers.
func (s *Service) Checkpoint(ctx context.Context, id string, to engine.Checkpoint, leaveRunning bool) error {
	if err := checkCheckpointName(to.Name); err != nil {
		return err
	}
	c, err := s.find(id)
	if err != nil {
		return err
	}
	exited, err := s.dump(ctx, c, id, to, leaveRunning)
	if err != nil || leaveRunning || exited == nil {
		return err
	}
	r := c.view()
	return awaitKilled(&r, exited) // whoever starts it now finds it stopped
}

// dump makes the checkpoint; exited is closed at the end of the run.
func (s *Service) dump(ctx context.Context, c *ctr, id string, to engine.Checkpoint, leaveRunning bool) (exited <-chan struct{}, err error) {
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	switch r.State.Status {
	case container.StateRunning:
	case container.StatePaused:
		return nil, errs.New(errs.Conflict, "Cannot checkpoint container %s: it is paused, unpause it before", id)
	default:
		return nil, errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	dir, err := s.newCheckpoint(&r, id, to)
	if err != nil {
		return nil, errs.New(errs.KindOf(err), "cannot checkpoint container %s: %w", id, err)
	}
	d := wire.Dump{Dir: dir, LeaveRunning: leaveRunning}
	if d.Config, err = json.Marshal(newCheckpointConfig(&r, to.Name, !leaveRunning)); err != nil {
		return nil, err
	}
	c.mu.Lock()
	exited = c.exited
	c.mu.Unlock()
	// It is not cut short when the client leaves: half a checkpoint is none.
	if err := s.Supervisor.Dump(context.WithoutCancel(ctx), r.ID, d); err != nil {
		return nil, errs.New(errs.KindOf(err), "Cannot checkpoint container %s: %w", id, err)
	}
	s.publish(&r, events.ActionCheckpoint)
	return exited, nil
}

// Checkpoints implements engine.Containers.
func (s *Service) Checkpoints(_ context.Context, id, dir string) ([]checkpoint.Summary, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	r := c.view()
	root, err := s.checkpointRoot(&r, dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == "":
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.NotFound, "checkpoint directory %q does not exist for container %s: %w", root, id, err)
	case err != nil:
		return nil, errs.New(errs.InvalidArgument, "list checkpoints of container %s: %w", id, err)
	}
	var all []checkpoint.Summary
	for _, e := range entries {
		if e.IsDir() && checkCheckpointName(e.Name()) == nil { // others are no checkpoints, or not finished
			all = append(all, checkpoint.Summary{Name: e.Name()})
		}
	}
	return all, nil
}

// RemoveCheckpoint implements engine.Containers.
func (s *Service) RemoveCheckpoint(_ context.Context, id string, k engine.Checkpoint) error {
	if err := checkCheckpointName(k.Name); err != nil {
		return err
	}
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock() // nobody is just starting from it
	defer c.op.Unlock()
	r := c.view()
	dir, err := s.findCheckpoint(&r, id, k)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove checkpoint %s of container %s: %w", k.Name, id, err)
	}
	return nil
}

// Restore implements engine.Containers.
func (s *Service) Restore(ctx context.Context, id string, from engine.Checkpoint) error {
	if err := checkCheckpointName(from.Name); err != nil {
		return err
	}
	return s.startFrom(ctx, id, func(r *record) (*restorePoint, error) {
		dir, err := s.findCheckpoint(r, id, from)
		if err != nil {
			return nil, err
		}
		p := &restorePoint{name: from.Name, dir: dir}
		p.config, err = readCheckpointConfig(dir)
		return p, err
	})
}

// restorePoint is a checkpoint from which a container is started; nil is none.
type restorePoint struct {
	name, dir string
	config    checkpointConfig
}

func (p *restorePoint) addresses() map[string]netip.Addr {
	if p == nil {
		return nil
	}
	return p.config.Addresses
}

func (p *restorePoint) directory() string {
	if p == nil {
		return ""
	}
	return p.dir
}

// failure describes a restore that the supervisor refused.
func (p *restorePoint) failure(err error) error {
	if kind := errs.KindOf(err); kind == errs.Unavailable || kind == errs.Conflict {
		return err // the supervisor, not the runtime
	}
	return &failure{errs.New(errs.KindOf(err), "failed to start container from checkpoint %s: %w", p.name, err), codeNotStarted}
}

// readCheckpointConfig reads a checkpoint's description. Docker's checkpoints have
// none, and can be restored all the same.
func readCheckpointConfig(dir string) (cfg checkpointConfig, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return cfg, fmt.Errorf("open checkpoint: %w", err)
	}
	defer root.Close() //nolint:errcheck // read only
	info, err := root.Lstat(checkpointConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxCheckpointConfig) {
		err = errors.New("it is no small file")
	}
	var data []byte
	if err == nil {
		data, err = root.ReadFile(checkpointConfigFile)
	}
	if err == nil {
		err = json.Unmarshal(data, &cfg)
	}
	if err != nil {
		return cfg, errs.New(errs.InvalidArgument, "read %s of checkpoint %s: %w", checkpointConfigFile, dir, err)
	}
	return cfg, nil
}
