package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/gantry-run/gantry/internal/errs"
)

// Namespace is the one that all of Gantry's records live in.
const Namespace = "gantry"

// The snapshotters, by the names that containerd gives them.
const (
	driverOverlay = "overlayfs"
	driverNative  = "native" // copies; for file systems that overlay cannot stand on
)

// upperLabel is where the overlay snapshotter tells a snapshot's directory.
const upperLabel = "containerd.io/snapshot/overlay.upperdir"

// openTimeout bounds the wait for another process that has the database open.
const openTimeout = time.Second

// Stores are the containerd stores, for parts of the daemon that make images
// themselves. Contexts need Namespace.
type Stores struct {
	DB          *metadata.DB
	Content     content.Store
	Snapshotter snapshots.Snapshotter
	Driver      string // the snapshotter's name
	Images      images.Store
	Leases      leases.Manager
}

type store struct {
	Stores
	root   string
	bolt   *bolt.DB
	killed bool // the last process did not close the store
}

// openStore opens or creates the stores below root. driver "" chooses one.
func openStore(root, driver string, log *slog.Logger) (_ *store, err error) {
	// 0700: nobody may walk into layers with set-uid programs from outside.
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("create image store: %w", err)
	}
	s := &store{root: root}
	if s.Driver, err = chooseDriver(root, driver, log); err != nil {
		return nil, err
	}
	// The database comes first: its lock keeps other processes out.
	s.bolt, err = bolt.Open(filepath.Join(root, "meta.db"), 0o600, &bolt.Options{
		Timeout: openTimeout, FreelistType: bolt.FreelistMapType, NoFreelistSync: true, NoStatistics: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, errs.New(errs.Conflict, "image store %s is in use by another process", root)
	}
	if err != nil {
		return nil, fmt.Errorf("open image database: %w", err)
	}
	backend, blobs, err := s.openBackends()
	if err != nil {
		return nil, errors.Join(err, s.bolt.Close())
	}
	s.DB = metadata.NewDB(s.bolt, blobs, map[string]snapshots.Snapshotter{s.Driver: backend})
	s.Content, s.Snapshotter = s.DB.ContentStore(), s.DB.Snapshotter(s.Driver)
	s.Images, s.Leases = metadata.NewImageStore(s.DB), metadata.NewLeaseManager(s.DB)
	if err := s.DB.Init(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("open image database: %w", err), s.Snapshotter.Close(), s.DB.Close())
	}
	return s, nil
}

// openBackends opens what the database stands on. After a kill it first moves
// away what that left half done, on which the libraries would stumble.
func (s *store) openBackends() (snapshots.Snapshotter, content.Store, error) {
	var err error
	if s.killed, err = markOpen(s.root); err != nil {
		return nil, nil, err
	}
	if s.killed {
		if err := s.removeOrphans(); err != nil {
			return nil, nil, err
		}
	}
	backend, err := openSnapshotter(filepath.Join(s.root, s.Driver), s.Driver)
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshotter %s: %w", s.Driver, err)
	}
	blobs, err := local.NewStore(filepath.Join(s.root, "content"))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open content store: %w", err), backend.Close())
	}
	return backend, blobs, nil
}

// chooseDriver takes overlay where it works. Docker's name for it is accepted.
func chooseDriver(root, wanted string, log *slog.Logger) (string, error) {
	switch wanted {
	case driverNative, "vfs":
		return driverNative, nil
	case "", driverOverlay, "overlay2", "overlay":
	default:
		return "", errs.New(errs.InvalidArgument, "unknown storage driver %q", wanted)
	}
	err := overlayutils.Supported(root)
	if err == nil {
		return driverOverlay, nil
	}
	if wanted != "" {
		return "", errs.New(errs.Unsupported, "use overlay on %s: %w", root, err)
	}
	log.Warn("overlay does not work here, layers are copied", "root", root, "err", err)
	return driverNative, nil
}

func openSnapshotter(root, driver string) (snapshots.Snapshotter, error) {
	if driver == driverNative {
		return native.NewSnapshotter(root)
	}
	// Removal only forgets; the collection frees the space afterwards, outside
	// of any transaction.
	return overlay.NewSnapshotter(root, overlay.AsynchronousRemove, overlay.WithUpperdirLabel)
}

func (s *store) close() error {
	err := errors.Join(s.Snapshotter.Close(), s.DB.Close())
	if err == nil {
		err = os.Remove(filepath.Join(s.root, openMark))
	}
	return err
}

// update runs fn in one transaction: everything that it does with its context
// happens, or nothing.
func (s *store) update(ctx context.Context, fn func(ctx context.Context) error) error {
	return s.DB.Update(func(tx *bolt.Tx) error { return fn(boltutil.WithTransaction(ctx, tx)) })
}

// scoped gives the context that the stores want.
func scoped(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, Namespace) }
