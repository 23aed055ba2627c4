package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/moby/moby/api/types/events"
	registrytypes "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/registry"
)

// User is a container that uses an image.
type User struct {
	ID      string
	Running bool
}

// Options are what a Service works with.
type Options struct {
	Root   string // durable directory, the Service's own
	Driver string // snapshotter; "": overlay, copies where that cannot work
	// StorageOpts are the driver's, as Docker's: "overlay2.size=SIZE" limits what a
	// container may write that is created without a limit of its own.
	StorageOpts []string
	Events      engine.Publisher
	// InUse lists the containers made from an image; nil: there are none. It is
	// called without locks held.
	InUse    func(imageID string) []User
	Registry registry.Options
	Log      *slog.Logger // nil: slog.Default()
}

// Service is the image noun and the source of root file systems. It is safe
// for concurrent use.
type Service struct {
	*store
	opts     Options
	log      *slog.Logger
	registry *registry.Client
	boot     string // tells this Service's keys from those of an earlier one
	serial   atomic.Uint64

	index   atomic.Pointer[index]
	records sync.Mutex // held while records change: what is planned is still true when it is done
	reload  sync.Mutex // one rebuild of the index at a time; guards bodies
	bodies  map[digest.Digest]*body

	rootfs    *rootfsStore
	downloads *semaphore.Weighted // layers that are fetched at a time
	unpacks   *semaphore.Weighted // layers that are unpacked at a time
	blobs     keyedLock           // by digest: one download of a blob at a time
	chains    keyedLock           // by chain ID: one unpacking at a time
	pulls     keyedLock           // by reference and platform
	gc        collector

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

var (
	_ engine.Images = (*Service)(nil)
	_ engine.Rootfs = (*Service)(nil)
)

// New opens the image store below o.Root. What an earlier process left half
// done is removed in the background. A store that another process has open is
// errs.Conflict.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	reg, err := registry.New(o.Registry)
	if err != nil {
		return nil, err
	}
	st, err := openStore(o.Root, o.Driver, o.Log)
	if err != nil {
		return nil, err
	}
	s := &Service{
		store: st, opts: o, log: o.Log, registry: reg, boot: rand.Text()[:8],
		bodies:    map[digest.Digest]*body{},
		downloads: semaphore.NewWeighted(int64(reg.Options().MaxConcurrentDownloads)),
		unpacks:   semaphore.NewWeighted(int64(max(2, runtime.GOMAXPROCS(0)))),
	}
	s.ctx, s.cancel = context.WithCancel(scoped(context.Background()))
	s.rootfs, err = openRootfs(s.ctx, filepath.Join(o.Root, "rootfs"), st, o.StorageOpts, o.Log)
	if err == nil {
		err = s.refresh(s.ctx)
	}
	if err != nil {
		s.cancel()
		if s.rootfs != nil {
			err = errors.Join(err, s.rootfs.limits.close())
		}
		return nil, errors.Join(fmt.Errorf("open image store: %w", err), st.close())
	}
	s.tasks.Go(s.rootfs.sweep)
	s.tasks.Go(s.tidy)
	return s, nil
}

// Close waits for background work and closes the store. No other method may
// be called afterwards.
func (s *Service) Close() error {
	s.cancel()
	s.rootfs.close()
	s.tasks.Wait()
	return errors.Join(s.rootfs.limits.close(), s.close())
}

// Stores gives the stores to parts of the daemon that make images themselves;
// they call Refresh after a change of image records.
func (s *Service) Stores() Stores { return s.store.Stores }

// Registry gives the client of registries, for logins.
func (s *Service) Registry() *registry.Client { return s.registry }

// Driver names the snapshotter in use.
func (s *Service) Driver() string { return s.store.Driver }

// Refresh makes changes visible that were made through Stores.
func (s *Service) Refresh(ctx context.Context) error { return s.refresh(scoped(ctx)) }

func (s *Service) users(id digest.Digest) []User {
	if s.opts.InUse == nil {
		return nil
	}
	return s.opts.InUse(id.String())
}

// publish reports an image event. name is what the event is about; the image's
// labels are added as Docker does.
func (s *Service) publish(action events.Action, id, name string, labels map[string]string) {
	if s.opts.Events == nil {
		return
	}
	attributes := make(map[string]string, len(labels)+1)
	for k, v := range labels {
		attributes[k] = v
	}
	attributes["name"] = name
	s.opts.Events.Publish(events.ImageEventType, action, id, attributes)
}

// unique gives a key that no other operation has, in any process.
func (s *Service) unique(kind string) string {
	return fmt.Sprintf("%s-%s-%d", kind, s.boot, s.serial.Add(1))
}

// Login checks credentials against a registry; wrong ones are errs.Unauthorized.
func (s *Service) Login(ctx context.Context, auth registrytypes.AuthConfig) (status, identityToken string, err error) {
	answer, err := s.registry.Login(ctx, auth)
	return answer.Status, answer.IdentityToken, err
}
