package container

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// fakeSupervisor starts nothing and says that it has.
type fakeSupervisor struct {
	Supervisor
	start  func(ctx context.Context) error // nil: it succeeds
	signal func(sig int)                   // nil: nothing
	watch  func() []wire.Container         // nil: nothing runs
	dump   func(wire.Dump) error

	mu        sync.Mutex
	forgotten []string
}

func (f *fakeSupervisor) Watch(ctx context.Context) ([]wire.Container, func() (wire.Event, error), error) {
	var live []wire.Container
	if f.watch != nil {
		live = f.watch()
	}
	return live, func() (wire.Event, error) { <-ctx.Done(); return wire.Event{}, ctx.Err() }, nil
}

func (f *fakeSupervisor) Start(ctx context.Context, _ string, _ wire.Start, _ *os.File) (int, wire.FDs, error) {
	if f.start != nil {
		if err := f.start(ctx); err != nil {
			return 0, nil, err
		}
	}
	return 42, nil, nil
}

func (f *fakeSupervisor) Dump(_ context.Context, _ string, d wire.Dump) error { return f.dump(d) }

func (f *fakeSupervisor) Signal(_ context.Context, _ string, sig int, _ bool) error {
	if f.signal != nil {
		f.signal(sig)
	}
	return nil
}

func (f *fakeSupervisor) Forget(_ context.Context, id string, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, id)
	return nil
}

func (f *fakeSupervisor) Park(context.Context, string) (wire.FDs, error)            { return nil, nil }
func (f *fakeSupervisor) Adopt(context.Context, string, wire.Start, wire.FDs) error { return nil }

// fakeRootfs has a root for every container. removing, if set, is called when one
// is removed.
type fakeRootfs struct {
	engine.Rootfs
	mounts   []engine.RootfsMount // nil: the machine's root
	limits   bool
	removing func(key string)
}

func (f *fakeRootfs) RootfsMounts(context.Context, string) ([]engine.RootfsMount, error) {
	if f.mounts != nil {
		return f.mounts, nil
	}
	return []engine.RootfsMount{{Type: "bind", Source: "/"}}, nil
}

func (f *fakeRootfs) RootfsLimits() bool { return f.limits }

func (f *fakeRootfs) RemoveRootfs(_ context.Context, key string) error {
	if f.removing != nil {
		f.removing(key)
	}
	return nil
}

// fakeNetworks gives namespaces that are none, and notes who was detached.
type fakeNetworks struct {
	engine.Sandboxes
	mu       sync.Mutex
	detached []string
}

func (f *fakeNetworks) Isolated(context.Context, engine.Users) (*os.File, error) {
	return os.Open(os.DevNull)
}

func (f *fakeNetworks) Attach(context.Context, engine.NetworkRequest) (*engine.Sandbox, error) {
	ns, err := os.Open(os.DevNull)
	return &engine.Sandbox{NS: ns}, err
}

func (f *fakeNetworks) Detach(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.detached = append(f.detached, id)
	return nil
}

func (f *fakeRootfs) RootfsKeys(context.Context) ([]string, error) { return nil, nil }

func (f *fakeNetworks) Announce(events.Action, string, string) {}

func (f *fakeNetworks) HostGateway() netip.Addr { return netip.MustParseAddr("172.17.0.1") }

func (f *fakeNetworks) Restore(context.Context, []engine.LiveSandbox) error { return nil }

// fakeVolumes notes which volumes were removed.
type fakeVolumes struct {
	Volumes
	removed []string
}

func (f *fakeVolumes) Mount(context.Context, string, string) (string, error) { return "", nil }
func (f *fakeVolumes) Unmount(context.Context, string, string) error         { return nil }
func (f *fakeVolumes) Restore(context.Context, map[string][]string) error    { return nil }

func (f *fakeVolumes) RemoveAnonymous(_ context.Context, name string) error {
	f.removed = append(f.removed, name)
	return nil
}

type nobodyListens struct{}

func (nobodyListens) Publish(events.Type, events.Action, string, map[string]string) {}

// newService gives a service that has one exited container, x, which change has
// made what the test needs.
func newService(t *testing.T, sup *fakeSupervisor, change func(*record)) (*Service, *ctr) {
	t.Helper()
	o := Options{
		Root: t.TempDir(), Volatile: t.TempDir(), Images: &fakeRootfs{}, Networks: &fakeNetworks{}, Volumes: &fakeVolumes{},
		Supervisor: sup, EnsureSupervisor: func(context.Context) error { return nil },
		Events: nobodyListens{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	s := &Service{
		Options: o, store: store{root: o.Root},
		byID: map[string]*ctr{}, byName: map[string]*ctr{}, execs: map[string]*execution{}, making: map[string]*ctr{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	t.Cleanup(s.Close)
	c := newCtr(record{
		ID: newID(), Name: "x", Path: "/bin/true", Config: &container.Config{Hostname: "x"},
		Host: &container.HostConfig{
			NetworkMode: "none", IpcMode: container.IPCModePrivate, CgroupnsMode: container.CgroupnsModePrivate,
			LogConfig: container.LogConfig{Type: "none"},
		},
		State: state{Status: container.StateExited},
	})
	change(&c.rec)
	s.byID[c.rec.ID], s.byName["x"] = c, c
	if err := s.store.create(c.rec.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.store.save(&c.rec); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// always gives a container a restart policy and a status.
func always(status container.ContainerState) func(*record) {
	return func(r *record) {
		r.Host.RestartPolicy.Name, r.State.Status = container.RestartPolicyAlways, status
	}
}

// saved reads the record of a container from disk.
func (s *Service) saved(t *testing.T, c *ctr) (r record) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Root, c.rec.ID, recordFile))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// next gives the service of the daemon after this one, which was killed.
func (s *Service) next(t *testing.T) *Service {
	t.Helper()
	n, err := New(t.Context(), s.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}
