// Package daemon is the composition root of gantryd: it builds the parts, wires
// them through the interfaces of package engine, serves the API and takes
// everything down in reverse. No rule of any noun belongs here.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/apparmor"
	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/config"
	"github.com/gantry-run/gantry/internal/container"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/event"
	"github.com/gantry-run/gantry/internal/httpapi"
	"github.com/gantry-run/gantry/internal/image"
	"github.com/gantry-run/gantry/internal/network"
	"github.com/gantry-run/gantry/internal/supervisor/client"
	"github.com/gantry-run/gantry/internal/version"
	"github.com/gantry-run/gantry/internal/volume"
)

// Daemon is a running engine.
type Daemon struct {
	cfg         config.Config                 // as at the start
	live        atomic.Pointer[config.Config] // as of the last reload
	log         *slog.Logger
	id          string
	runtimePath string
	warnings    []string
	remap       user.IdentityMapping // see findRemap

	supervisor *client.Client
	spawner    *spawner
	events     *event.Bus
	images     *image.Service
	networks   *network.Service
	volumes    *volume.Service
	appArmor   *apparmor.Host // nil: the machine has none
	selinux    bool           // containers have contexts
	containers *container.Service

	server   *http.Server
	endCalls context.CancelFunc // cancels every call in progress
	serving  sync.WaitGroup
	closers  cleanup.Stack // in order of construction; Stop unwinds it
}

// makeRoots makes the directories of the daemon's state. A data root that is there
// already, such as a file system mounted for it, is closed to others, too: below it are
// files with containers' owners and set-user-ID bits (CVE-2021-41091). The exec root is
// passable: the API's socket may lie in it, whose group may use it.
func makeRoots(data, exec string) error {
	if err := errors.Join(os.MkdirAll(data, 0o710), os.MkdirAll(exec, 0o711)); err != nil {
		return fmt.Errorf("create root directory: %w", err)
	}
	info, err := os.Stat(data)
	if err == nil && info.Mode().Perm()&0o027 != 0 {
		err = os.Chmod(data, info.Mode().Perm()&^0o027)
	}
	if err != nil {
		return fmt.Errorf("close data root to others: %w", err)
	}
	return nil
}

// New builds all parts and reconciles them with what earlier daemons left. It
// serves nothing yet.
func New(ctx context.Context, cfg config.Config, log *slog.Logger) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, log: log}
	d.live.Store(&cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.closers.Run())
		}
	}()
	if err := makeRoots(cfg.DataRoot, cfg.ExecRoot); err != nil {
		return nil, err
	}
	atomicfile.Sweep(cfg.DataRoot)
	if info, err := os.Lstat("/run/systemd/system"); cfg.SystemdCgroup() && (err != nil || !info.IsDir()) {
		return nil, errs.New(errs.Unsupported, "native.cgroupdriver=systemd: systemd does not run this machine")
	}
	if d.id, err = engineID(filepath.Join(cfg.DataRoot, "engine-id")); err != nil {
		return nil, err
	}
	if err := d.findRemap(); err != nil {
		return nil, err
	}
	if err := d.startSupervisor(ctx); err != nil {
		return nil, err
	}
	d.openAppArmor(ctx)
	if err := d.openSELinux(); err != nil {
		return nil, err
	}
	d.events = event.New(log)
	d.closers.PushFunc(d.events.Close)
	if err := d.openStores(ctx); err != nil {
		return nil, err
	}
	if err := d.openContainers(ctx); err != nil {
		return nil, err
	}
	handler, err := httpapi.New(d.backend(), httpapi.Options{
		Log: log, Version: version.Version, MinVersion: d.minAPI(), Experimental: cfg.Experimental, Debug: cfg.Debug,
	})
	if err != nil {
		return nil, err
	}
	d.server = httpapi.NewServer(handler, log)
	base, end := context.WithCancel(context.Background())
	d.server.BaseContext = func(net.Listener) context.Context { return base }
	d.endCalls = end
	return d, nil
}

func (d *Daemon) startSupervisor(ctx context.Context) (err error) {
	if d.runtimePath, err = runtimeBinary(); err != nil {
		return err
	}
	d.supervisor = &client.Client{Socket: filepath.Join(d.cfg.ExecRoot, supervisorSocket)}
	d.spawner = &spawner{execRoot: d.cfg.ExecRoot, binary: d.runtimePath, debug: d.cfg.Debug, client: d.supervisor}
	if err := d.spawner.ensure(ctx); err != nil {
		return err
	}
	d.closers.Push(func(ctx context.Context) error {
		_, err := d.supervisor.Shutdown(ctx) // stays if containers need it
		return err
	})
	return nil
}

func (d *Daemon) openStores(ctx context.Context) (err error) {
	d.images, err = image.New(ctx, d.imageOptions())
	if err != nil {
		return fmt.Errorf("open image store: %w", err)
	}
	d.closers.Push(func(context.Context) error { return d.images.Close() })
	d.networks, err = network.New(ctx, d.networkOptions())
	if err != nil {
		return fmt.Errorf("set up network: %w", err)
	}
	d.closers.Push(d.networks.Close)
	d.volumes, err = volume.New(ctx, d.volumeOptions())
	if err != nil {
		return fmt.Errorf("open volume store: %w", err)
	}
	d.closers.PushFunc(d.volumes.Close)
	return nil
}

func (d *Daemon) openContainers(ctx context.Context) (err error) {
	d.containers, err = container.New(ctx, container.Options{
		DataRoot: d.cfg.DataRoot, Root: filepath.Join(d.cfg.DataRoot, "containers"), Volatile: filepath.Join(d.cfg.ExecRoot, "containers"), InitBinary: d.runtimePath,
		Images: d.images, Networks: d.networks, Volumes: d.volumes,
		Supervisor: d.supervisor, EnsureSupervisor: d.spawner.ensure,
		Events: d.events, Defaults: d.containerDefaults(), Remap: d.remap, AppArmor: d.appArmor, Log: d.log,
	})
	if err != nil {
		return fmt.Errorf("open container store: %w", err)
	}
	d.closers.PushFunc(d.containers.Close)
	return nil
}

func (d *Daemon) backend() engine.Backend {
	return engine.Backend{
		Containers: d.containers, Execs: d.containers.Execs(), Images: d.images, Networks: d.networks,
		Volumes: d.volumes, Events: d.events, System: systemService{d},
	}
}

// Serve answers on the listeners until Stop.
func (d *Daemon) Serve(listeners []net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		d.log.Info("API listens", "address", l.Addr().String())
		d.serving.Go(func() { failed <- d.server.Serve(l) })
	}
	for range listeners {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve API: %w", err)
		}
	}
	return nil
}

// Stop ends the API and the daemon's parts. Containers keep running; a later
// daemon finds them again.
func (d *Daemon) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.stopTimeout())
	defer cancel()
	err := d.server.Shutdown(ctx)
	d.endCalls() // streams that never end, hijacked ones among them
	if errors.Is(err, context.DeadlineExceeded) {
		err = d.server.Close()
	}
	d.serving.Wait()
	return errors.Join(err, d.closers.Run())
}

// apiGrace is how long calls in progress may take at shutdown.
const apiGrace = 2 * time.Second

func (d *Daemon) stopTimeout() time.Duration { return apiGrace }

// minAPI is the oldest API version served.
func (d *Daemon) minAPI() string {
	if v := d.cfg.MinAPIVersion; v != "" {
		return v
	}
	return version.MinAPI
}

// engineID reads the engine's identity, made at the first start.
func engineID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read engine identity: %w", err)
	}
	id := uuid.NewString()
	return id, atomicfile.Write(path, []byte(id+"\n"), 0o600, atomicfile.Durable)
}
