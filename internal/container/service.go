package container

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/user"

	"github.com/gantry-run/gantry/internal/apparmor"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Supervisor is what containers need of the process supervisor; see package
// supervisor/client, which implements it.
type Supervisor interface {
	Start(ctx context.Context, id string, s wire.Start, netns *os.File) (pid int, parked wire.FDs, err error)
	Park(ctx context.Context, id string) (wire.FDs, error)
	Adopt(ctx context.Context, id string, s wire.Start, parked wire.FDs) error
	Exec(ctx context.Context, id, execID string, e wire.Exec, a wire.Attach) (pid int, conn *net.UnixConn, err error)
	Prober(id string, p wire.Probe) wire.Prober
	Attach(ctx context.Context, id string, a wire.Attach) (*net.UnixConn, error)
	Signal(ctx context.Context, id string, sig int, all bool) error
	Resize(ctx context.Context, id, execID string, height, width uint16) error
	Dump(ctx context.Context, id string, d wire.Dump) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Update(ctx context.Context, id string, resources json.RawMessage) error
	Cgroup(ctx context.Context, id string) (json.RawMessage, error)
	Pids(ctx context.Context, id string) ([]int, error)
	Forget(ctx context.Context, id string, removed bool) error
	Watch(ctx context.Context) ([]wire.Container, func() (wire.Event, error), error)
}

// Volumes is what containers need of volumes.
type Volumes interface {
	engine.VolumeMounts
	engine.VolumeUse
}

// Defaults are the daemon's settings that a container's own leave open.
type Defaults struct {
	LogDriver       string            // "" is json-file
	LogOpts         map[string]string // for containers that name no driver
	ShmSize         int64             // bytes; 0 is 64 MiB
	Ulimits         []*units.Ulimit
	SeccompProfile  string // path of a profile, "unconfined" or "" for the built-in one
	NoNewPrivileges bool
	SELinux         bool   // containers have SELinux contexts
	CgroupParent    string // where containers are that name no other place
	SystemdCgroup   bool   // systemd makes the cgroups; then parents are slices
	CgroupnsMode    container.CgroupnsMode
	IpcMode         container.IpcMode
	Init            bool
	DNS             []string
	DNSOptions      []string
	DNSSearch       []string
	StopTimeout     time.Duration // of containers that name none; 0: 10 s
	CDISpecDirs     []string      // where devices are described, later ones win
}

// Options are the parts that a Service works with.
type Options struct {
	DataRoot   string // the daemon's; empty: binds that show it are like others
	Root       string // durable directory, one subdirectory per container
	Volatile   string // directory of what need not outlive a boot
	InitBinary string // what --init runs as pid 1
	Images     engine.Rootfs
	Networks   engine.Sandboxes
	Volumes    Volumes
	Supervisor Supervisor
	// EnsureSupervisor starts a supervisor unless one answers.
	EnsureSupervisor func(ctx context.Context) error
	Events           engine.Publisher
	// Remap are the ids that containers get which do not ask for the host's user
	// namespace; empty: all are in that.
	Remap    user.IdentityMapping
	Defaults Defaults
	AppArmor *apparmor.Host // nil: the machine has none
	Log      *slog.Logger
}

// Service is the container noun. It is safe for concurrent use.
type Service struct {
	Options
	store store

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.RWMutex
	byID   map[string]*ctr
	byName map[string]*ctr
	execs  map[string]*execution
	making map[string]*ctr // being created: not to be found yet, but using images and volumes
}

// ctr is a container in memory.
type ctr struct {
	op     sync.Mutex // held by the lifecycle verb that changes the container
	saving sync.Mutex // held from a change of the record until it is on disk; taken after op, before mu

	mu      sync.Mutex // guards what follows; never held across a call to another part
	rec     record
	waiters []waiter
	timer   *time.Timer   // pending restart
	backoff time.Duration // next restart delay
	exited  chan struct{} // closed at the end of the current run; nil without one
	gone    chan struct{} // closed on removal
	parked  wire.FDs      // the streams of the current run, should the supervisor die
	noStdin bool          // its stdin is closed
	kept    int           // restarts that are between stop and start, so --rm waits
	shipped *shipping     // of the latest run; nil if its log is not sent
	stats   statSample
	meter   *meter            // while somebody asks for statistics
	health  *container.Health // of the current or last run; nil without a check
}

// view gives a copy of the record for reading. The pointers in it are never
// written through: whoever changes a part replaces it.
func (c *ctr) view() record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec
}

// closeParkedStdin lets the container see the end of its stdin: our copy would
// keep it open.
func (c *ctr) closeParkedStdin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noStdin = true
	c.trimParked()
}

func (c *ctr) trimParked() {
	if c.noStdin && len(c.parked) > wire.ParkedStdin {
		c.parked[wire.ParkedStdin:].Close()
		c.parked = c.parked[:wire.ParkedStdin]
	}
}

// find resolves a full ID, a name, a unique ID prefix or a link, in this order.
func (s *Service) find(ref string) (*ctr, error) {
	c, err := s.lookup(ref)
	if errs.Is(err, errs.NotFound) {
		if linked := s.findLinked(ref); linked != nil {
			return linked, nil
		}
	}
	return c, err
}

func (s *Service) lookup(ref string) (*ctr, error) {
	if ref == "" {
		return nil, errs.New(errs.InvalidArgument, "invalid name or ID supplied: %q", ref)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.byID[ref]; c != nil {
		return c, nil
	}
	if c := s.byName[strings.TrimPrefix(ref, "/")]; c != nil && s.byID[c.rec.ID] == c { // else it is being created
		return c, nil
	}
	var found *ctr
	for id, c := range s.byID {
		if !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, errs.New(errs.InvalidArgument, "multiple IDs found with provided prefix: %s", ref)
		}
		found = c
	}
	if found == nil {
		return nil, errs.New(errs.NotFound, "No such container: %s", ref)
	}
	return found, nil
}

func (s *Service) all() []*ctr {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*ctr, 0, len(s.byID))
	for _, c := range s.byID {
		list = append(list, c)
	}
	return list
}

// update changes the record in memory and on disk. The change is kept in memory
// even if the disk refuses it, since the kernel's state has changed already.
func (s *Service) update(c *ctr, change func(*record)) error {
	c.saving.Lock() // or an older copy could take the place of a newer one
	defer c.saving.Unlock()
	c.mu.Lock()
	change(&c.rec)
	rec := c.rec
	c.mu.Unlock()
	return s.store.save(&rec)
}

// publish tells the event bus about a container, with Docker's attributes:
// image, name, labels and what the verb adds.
func (s *Service) publish(r *record, action events.Action, extra ...string) {
	attrs := make(map[string]string, len(r.Config.Labels)+4)
	for k, v := range r.Config.Labels {
		attrs[k] = v
	}
	attrs["image"], attrs["name"] = r.Config.Image, r.Name
	for i := 0; i+1 < len(extra); i += 2 {
		attrs[extra[i]] = extra[i+1]
	}
	s.Events.Publish(events.ContainerEventType, action, r.ID, attrs)
}

// ImageUser is a container that was made from an image.
type ImageUser struct {
	ID      string
	Running bool
}

// UsingImage lists the containers made from an image.
func (s *Service) UsingImage(imageID string) (users []ImageUser) {
	s.mu.RLock()
	making := slices.Collect(maps.Values(s.making))
	s.mu.RUnlock()
	for _, c := range append(making, s.all()...) {
		if r := c.view(); r.ImageID == imageID || r.mountsImage(imageID) {
			users = append(users, ImageUser{ID: r.ID, Running: r.State.running()})
		}
	}
	return users
}

// UsingVolume lists the containers that have a volume, also those that are being
// created.
func (s *Service) UsingVolume(name string) (ids []string) {
	s.mu.RLock()
	making := slices.Collect(maps.Values(s.making))
	s.mu.RUnlock()
	for _, c := range append(making, s.all()...) {
		r := c.view()
		if slices.ContainsFunc(r.Mounts, func(m mountPoint) bool { return m.Name == name }) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// Counts gives the number of containers by state, for info.
func (s *Service) Counts() (running, paused, stopped int) {
	for _, c := range s.all() {
		switch c.view().State.Status {
		case container.StateRunning, container.StateRestarting:
			running++
		case container.StatePaused:
			paused++
		default:
			stopped++
		}
	}
	return running, paused, stopped
}

// OnNetwork gives the endpoints of running containers by network name, for
// network inspect.
func (s *Service) OnNetwork(name string) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for _, c := range s.all() {
		r := c.view()
		if ep := r.Endpoints[name]; ep != nil && r.State.running() {
			out[r.ID] = ep
		}
	}
	return out
}
