package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// idleGrace is how long a supervisor without containers and without a daemon
// stays, so that a daemon that restarts finds it.
const idleGrace = 30 * time.Second

// acceptPause is how long the supervisor waits when it has no descriptors left:
// the kernel does not tell when there are some again.
const acceptPause = 100 * time.Millisecond

// Options configure a Server.
type Options struct {
	ExecRoot string   // volatile directory; the runtime's state is kept in runtime/, exits in exits/
	Listener *os.File // a unix socket, see fd.Accept
	Path     string   // its name, which ends with it; empty: it is the caller's
	Log      *slog.Logger
}

// Server supervises the containers of one daemon.
type Server struct {
	log      *slog.Logger
	runtime  *oci.Runtime
	reaper   *reaper
	exits    exitStore
	restores string // directory of criu's logs while containers are restored
	listener *os.File
	path     string
	quit     chan struct{}
	quitOnce sync.Once

	mu         sync.Mutex
	containers map[string]*container
	unclean    map[string]struct{} // ids of which the runtime may have remains
	watchers   map[*watcher]struct{}
	idle       *time.Timer
	leaving    bool // the daemon has ended and wants no supervisor without containers
}

// New prepares a server and adopts the containers that an earlier one left.
func New(o Options) (*Server, error) {
	s := &Server{
		log: o.Log, listener: o.Listener, path: o.Path, quit: make(chan struct{}),
		exits:      exitStore{dir: filepath.Join(o.ExecRoot, "exits")},
		restores:   filepath.Join(o.ExecRoot, "restores"),
		containers: map[string]*container{}, unclean: map[string]struct{}{}, watchers: map[*watcher]struct{}{},
	}
	if err := os.MkdirAll(s.exits.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create supervisor state: %w", err)
	}
	atomicfile.Sweep(s.exits.dir)
	if err := os.RemoveAll(s.restores); err != nil {
		return nil, fmt.Errorf("remove logs of interrupted restores: %w", err)
	}
	var err error
	if s.runtime, err = oci.New(oci.Options{Root: filepath.Join(o.ExecRoot, "runtime"), Log: o.Log}); err != nil {
		return nil, err
	}
	if s.reaper, err = newReaper(); err != nil {
		return nil, err
	}
	return s, s.adopt()
}

// Serve answers calls until shutdown or idleness ends it.
func (s *Server) Serve() error {
	go func() {
		<-s.quit
		// In this order: who finds the socket closed makes one of the same name.
		if s.path != "" {
			_ = os.Remove(s.path)
		}
		_ = s.listener.Close()
	}()
	s.idleCheck()
	for {
		conn, err := fd.Accept(s.listener)
		if err != nil {
			switch {
			case errors.Is(err, os.ErrClosed):
				return nil
			case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
				s.log.Warn("accept on supervisor socket", "error", err)
				time.Sleep(acceptPause) // callers wait meanwhile
				continue
			}
			return fmt.Errorf("accept on supervisor socket: %w", err)
		}
		go s.handle(conn)
	}
}

func (s *Server) handle(conn *os.File) {
	var req wire.Request
	fds, err := wire.Read(conn, &req)
	if err != nil {
		_ = conn.Close() // no request, no answer
		return
	}
	// The work goes on when the daemon dies during a call: its successor finds
	// the result by watch.
	ctx := context.Background()
	keep := false
	var resp wire.Response
	var parked wire.FDs
	switch req.Op {
	case wire.OpWatch:
		s.watch(conn)
		return
	case wire.OpAttach:
		keep, err = s.attach(conn, req)
	case wire.OpExec:
		keep, err = s.exec(ctx, conn, req)
	case wire.OpRepeat:
		parked, err = s.repeat(ctx, req)
	case wire.OpStart:
		resp.Pid, parked, err = s.start(ctx, req, fds)
	case wire.OpPark:
		parked, err = s.park(req.ID)
	case wire.OpAdopt:
		err = s.takeStreams(req, fds)
		fds = nil // they are the container's now, or closed
	case wire.OpShutdown:
		resp.Busy = !s.shutdown()
	default:
		resp, err = s.call(ctx, req)
	}
	fds.Close() // the container's init has its own by now
	if keep {
		return
	}
	resp.Error = wireError(err)
	if err := wire.Write(conn, resp, parked...); err != nil {
		s.log.Debug("answer daemon", "op", req.Op, "error", err)
	}
	parked.Close()
	_ = conn.Close()
}

func (s *Server) start(ctx context.Context, req wire.Request, fds wire.FDs) (pid int, parked wire.FDs, err error) {
	if req.Start == nil || req.ID == "" {
		return 0, nil, errs.New(errs.InvalidArgument, "start needs an id and a description")
	}
	netns := -1
	if req.Start.Netns {
		if len(fds) != 1 {
			return 0, nil, errs.New(errs.InvalidArgument, "start of container %s: network namespace missing", req.ID)
		}
		netns = fds[0]
	}
	c := s.obtain(req.ID)
	if pid, err = c.start(ctx, *req.Start, netns); err != nil {
		return 0, nil, err
	}
	return pid, c.parkable(), nil
}

func (s *Server) park(id string) (wire.FDs, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if _, err := c.running(); err != nil {
		return nil, err
	}
	return c.parkable(), nil
}

func (s *Server) repeat(ctx context.Context, req wire.Request) (wire.FDs, error) {
	c, err := s.find(req.ID)
	if err != nil {
		return nil, err
	}
	r, err := c.running()
	if err != nil {
		return nil, err
	}
	sock, err := c.repeat(ctx, r, req.Probe)
	if err != nil {
		return nil, err
	}
	return wire.FDs{sock}, nil
}

func (s *Server) attach(conn *os.File, req wire.Request) (bool, error) {
	if req.Attach == nil || req.ID == "" {
		return false, errs.New(errs.InvalidArgument, "attach needs an id and streams")
	}
	k := newSink(conn, *req.Attach)
	s.attachTo(req.ID, k) // before the answer: a start that comes after that finds it
	if err := wire.Write(conn, wire.Response{}); err != nil {
		k.close()
	}
	k.open()
	return true, nil
}

func (s *Server) exec(ctx context.Context, conn *os.File, req wire.Request) (bool, error) {
	c, err := s.find(req.ID)
	if err != nil || req.Exec == nil {
		return false, err
	}
	pid, io, err := c.exec(ctx, req.ExecID, *req.Exec)
	if err != nil {
		return false, err
	}
	defer close(io.ready)
	if err := wire.Write(conn, wire.Response{Pid: pid}); err != nil || !req.Exec.Attached || req.Attach == nil {
		_ = conn.Close()
		io.closeStdin() // nobody will ever write
		return true, nil
	}
	k := newSink(conn, *req.Attach)
	k.open()
	io.attach(k)
	return true, nil
}

// call performs the calls that are answered by one frame.
func (s *Server) call(ctx context.Context, req wire.Request) (resp wire.Response, err error) {
	if req.Op == wire.OpPing {
		return wire.Response{Pid: os.Getpid()}, nil
	}
	c, err := s.find(req.ID)
	if err != nil {
		return resp, err
	}
	switch req.Op {
	case wire.OpForget:
		if req.All {
			defer s.sweep(ctx)
		}
		return resp, s.forget(c, req.All)
	case wire.OpResize:
		return resp, c.resize(req.ExecID, req.Height, req.Width)
	}
	r, err := c.running()
	if err != nil {
		return resp, err
	}
	switch req.Op {
	case wire.OpSignal:
		err = r.rt.Signal(ctx, unix.Signal(req.Signal), req.All)
	case wire.OpPause, wire.OpResume:
		err = c.freeze(ctx, r, req.Op == wire.OpPause)
	case wire.OpDump:
		err = c.dump(ctx, r, req.Dump)
	case wire.OpPids:
		resp.Pids, err = r.rt.Pids()
	case wire.OpProbe:
		resp.Probed, err = c.probe(ctx, r, req.Probe)
	case wire.OpCgroup:
		resp.Cgroup, err = json.Marshal(r.rt.Cgroup())
	case wire.OpUpdate:
		var res specs.LinuxResources
		if err = json.Unmarshal(req.Resources, &res); err == nil {
			err = r.rt.Update(ctx, &res)
		}
	default:
		err = errs.New(errs.InvalidArgument, "unknown call %q", req.Op)
	}
	return resp, err
}

func (c *container) freeze(ctx context.Context, r *run, pause bool) error {
	op := r.rt.Resume
	if pause {
		op = r.rt.Pause
	}
	if err := op(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	r.paused = pause
	c.mu.Unlock()
	return nil
}

func wireError(err error) *wire.Error {
	if err == nil {
		return nil
	}
	_, program := errors.AsType[*oci.ExecError](err)
	_, user := errors.AsType[*oci.UserError](err)
	return &wire.Error{Kind: errs.KindOf(err), Message: err.Error(), Program: program, User: user}
}
