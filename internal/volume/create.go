package volume

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Create makes a volume, or returns the one of that name as it is, whatever
// labels and options the request has: as Docker does. An empty name makes an
// anonymous volume. A bad name or option is errs.InvalidArgument, an unknown
// driver errs.NotFound.
func (s *Service) Create(ctx context.Context, req volumetypes.CreateRequest) (volumetypes.Volume, error) {
	v, err := s.create(ctx, req.Name, req.Driver, req.Labels, req.DriverOpts)
	if err != nil {
		return volumetypes.Volume{}, err
	}
	return v.api(), nil
}

// Ensure is Create for containers. See engine.VolumeMounts.
func (s *Service) Ensure(ctx context.Context, name, driver string, labels, opts map[string]string) (engine.VolumeRef, error) {
	for {
		v, err := s.create(ctx, name, driver, labels, opts)
		if err != nil {
			return engine.VolumeRef{}, err
		}
		v.mu.Lock() // a removal under way is waited for
		gone := v.gone
		fresh, err := v.fresh()
		v.mu.Unlock()
		if gone {
			continue // made anew
		}
		if err != nil {
			return engine.VolumeRef{}, errs.New(errs.Internal, "read volume %q: %w", v.Name, err)
		}
		return engine.VolumeRef{Name: v.Name, Driver: v.Driver, Path: v.data(), Fresh: fresh}, nil
	}
}

// fresh tells whether an image's content may be copied into the volume. What
// will be mounted is looked at by CopyUp; a tmpfs loses everything before the
// container starts. The lock is held.
func (v *vol) fresh() (bool, error) {
	if v.needsMount() && !v.mounted {
		return v.Options[optType] != "tmpfs", nil
	}
	return isEmpty(v.data())
}

func isEmpty(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close() // read only
	_, err = d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// create gives the volume of that name, made now if need be.
func (s *Service) create(ctx context.Context, name, driver string, labels, opts map[string]string) (*vol, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	labels, opts = maps.Clone(labels), maps.Clone(opts)
	if name == "" {
		name = AnonymousName()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[AnonymousLabel] = ""
	}
	if driver != "" && driver != Driver {
		return nil, errs.New(errs.NotFound, "create %s: error looking up volume plugin %s: plugin %q not found", name, driver, driver)
	}
	v, made, err := s.claim(name, labels, opts)
	if err != nil || !made {
		return v, err
	}
	defer v.mu.Unlock()
	if err := v.makeDirs(); err != nil {
		s.forget(v)
		return nil, errs.New(errs.Internal, "create %s: %w", name, err)
	}
	v.ready.Store(true)
	s.publish(events.ActionCreate, v)
	return v, nil
}

// claim enters a name into the store. If it is new, made is true and the volume
// is locked, still without directories.
func (s *Service) claim(name string, labels, opts map[string]string) (v *vol, made bool, err error) {
	for {
		s.mu.Lock()
		v = s.volumes[name]
		if v == nil {
			break
		}
		s.mu.Unlock()
		v.mu.Lock() // until a concurrent creation or removal is over
		gone := v.gone
		v.mu.Unlock()
		if !gone {
			return v, false, nil
		}
	}
	defer s.mu.Unlock()
	if err := checkName(name); err != nil {
		return nil, false, err
	}
	if err := checkOptions(name, opts); err != nil {
		return nil, false, err
	}
	v = &vol{
		record:  record{Name: name, Driver: Driver, Labels: labels, Options: opts, CreatedAt: time.Now()},
		dir:     filepath.Join(s.dir, name),
		holders: map[string]struct{}{},
	}
	v.mu.Lock()
	s.volumes[name] = v
	return v, true, nil
}

// makeDirs writes the record, then makes the data directory.
func (v *vol) makeDirs() (err error) {
	var undo cleanup.Stack
	defer func() { err = errors.Join(err, undo.Run()) }()
	if err := os.Mkdir(v.dir, 0o701); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	undo.Push(func(context.Context) error { return os.RemoveAll(v.dir) })
	if err := v.save(v.dir); err != nil {
		return err
	}
	if err := os.Mkdir(v.data(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(v.data(), 0o755); err != nil { // whatever the umask is
		return err
	}
	if !v.anonymous() {
		if err := syncDirs(v.dir, filepath.Dir(v.dir)); err != nil {
			return err
		}
	}
	undo.Release()
	return nil
}

// syncDirs flushes directories, so that what was made in them survives a power loss.
func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}
