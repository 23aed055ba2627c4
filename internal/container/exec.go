package container

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/apparmor"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// execution is one exec: created, running or ended. It lives in memory only and
// goes with its container's run, as in Docker.
type execution struct {
	id   string
	ctr  *ctr
	req  container.ExecCreateRequest
	keys []byte

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	code    *int
	endedAt time.Time
	done    chan struct{} // closed at the end
}

// Execs implements engine.Execs on the same containers.
func (s *Service) Execs() engine.Execs { return execs{s} }

type execs struct{ s *Service }

// Create prepares an exec in a running container.
func (e execs) Create(_ context.Context, id string, req container.ExecCreateRequest) (string, error) {
	s := e.s
	c, err := s.find(id)
	if err != nil {
		return "", err
	}
	if len(req.Cmd) == 0 {
		return "", errs.New(errs.InvalidArgument, "no exec command specified")
	}
	r := c.view()
	if err := execable(&r); err != nil {
		return "", err
	}
	if req.User != "" {
		if err := checkUser(&r, req.User); err != nil {
			return "", err
		}
	}
	keys, err := detachKeys(req.DetachKeys)
	if err != nil {
		return "", err
	}
	x := &execution{id: newID(), ctr: c, req: req, keys: keys, done: make(chan struct{})}
	s.mu.Lock()
	s.sweepExecs()
	s.execs[x.id] = x
	s.mu.Unlock()
	s.publish(&r, execAction(events.ActionExecCreate, req.Cmd), "execID", x.id)
	return x.id, nil
}

func execable(r *record) error {
	switch {
	case r.State.Status == container.StatePaused:
		return errs.New(errs.Conflict, "Container %s is paused, unpause the container before exec", r.Name)
	case r.State.Status == container.StateRestarting:
		return errs.New(errs.Conflict, "Container %s is restarting, wait until the container is running", r.ID)
	case !r.State.running():
		return errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	return nil
}

func (s *Service) findExec(id string) (*execution, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.execs[id]; x != nil {
		return x, nil
	}
	return nil, errs.New(errs.NotFound, "No such exec instance: %s", id)
}

// Start runs a created exec; attached, it returns at its end.
func (e execs) Start(ctx context.Context, id string, req container.ExecStartRequest, hijack func(tty bool) (engine.Conn, error)) error {
	s := e.s
	x, err := s.findExec(id)
	if err != nil {
		return err
	}
	r := x.ctr.view()
	if err := execable(&r); err != nil {
		return err
	}
	if err := x.begin(); err != nil {
		return err
	}
	s.publish(&r, execAction(events.ActionExecStart, x.req.Cmd), "execID", x.id)
	process, err := s.execProcess(ctx, &r, x, req.ConsoleSize)
	if err != nil {
		x.finish(codeNotExecutable)
		return err
	}
	call := wire.Exec{Process: process, User: wire.User{Name: plainUser(x.user(&r)), Groups: r.Host.GroupAdd}, OpenStdin: x.req.AttachStdin && !req.Detach, TTY: x.req.Tty, Attached: !req.Detach}
	want := wire.Attach{Stdin: x.req.AttachStdin, Stdout: x.req.AttachStdout, Stderr: x.req.AttachStderr}
	// The answer's head goes out before there can be output: clients lose what
	// comes with it. Whatever fails from here on is told in the stream.
	var conn engine.Conn
	if !req.Detach {
		if conn, err = hijack(x.req.Tty); err != nil {
			x.finish(codeNotExecutable)
			return err
		}
	}
	if !path.IsAbs(x.dir(&r)) {
		return x.failed(errRelativeDir)
	}
	pid, streams, err := s.Supervisor.Exec(context.WithoutCancel(ctx), r.ID, x.id, call, want)
	if err != nil {
		return x.failed(execError(err))
	}
	x.mu.Lock()
	x.pid = pid
	x.mu.Unlock()
	if req.Detach {
		return nil
	}
	defer streams.Close() //nolint:errcheck // closing is how we leave
	defer conn.Close()    //nolint:errcheck // the client is done with it
	if join(conn, streams, x.req.AttachStdin, x.req.Tty, x.keys, x.settle) {
		s.publish(&r, events.ActionExecDetach, "execID", x.id)
		return nil
	}
	return nil
}

// execAction is the action of an event about an exec: with the program, and after
// a space, which Docker always has there, its arguments.
func execAction(a events.Action, cmd []string) events.Action {
	return a + events.Action(": "+cmd[0]+" "+strings.Join(cmd[1:], " "))
}

// settleTimeout bounds how long the end of an exec's output waits for its exit
// code, which the supervisor sends just before.
const settleTimeout = 5 * time.Second

// settle lets the exit code arrive before the client sees the end of the
// stream: clients ask for it right away.
func (x *execution) settle() {
	t := time.NewTimer(settleTimeout)
	defer t.Stop()
	select {
	case <-x.done:
	case <-t.C:
	}
}

func (x *execution) begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.started {
		return errs.New(errs.Conflict, "exec instance %s has already run", x.id)
	}
	x.started, x.running = true, true
	return nil
}

// failed ends an exec whose process was not started.
func (x *execution) failed(err error) error {
	x.finish(startExitCode(err))
	return err
}

func (x *execution) finish(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.code != nil {
		return
	}
	x.running, x.code, x.endedAt = false, &code, time.Now()
	close(x.done)
}

func (x *execution) user(r *record) string {
	return cmp.Or(x.req.User, r.Config.User)
}

// dir is the working directory.
func (x *execution) dir(r *record) string {
	return cmp.Or(x.req.WorkingDir, r.Config.WorkingDir, "/")
}

// execProcess makes the runtime-spec process of an exec: the container's
// settings with what the exec changes.
func (s *Service) execProcess(ctx context.Context, r *record, x *execution, size *[2]uint) (json.RawMessage, error) {
	sec, err := parseSecurity(r.Host)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(r.Host)
	if err != nil {
		return nil, err
	}
	if x.req.Privileged {
		caps = ownCaps()
	}
	limits, err := parseUlimits(r.Host.Ulimits, s.Defaults.Ulimits)
	if err != nil {
		return nil, err
	}
	if r.AppArmor == apparmor.Default && s.AppArmor.HasDefault() { // --privileged does not change it, as in Docker
		if err := s.AppArmor.EnsureDefault(ctx); err != nil {
			return nil, err
		}
	}
	cfg := *r.Config
	cfg.Env, cfg.Tty = mergeEnv(r.Config.Env, x.req.Env), x.req.Tty
	p := specs.Process{
		Terminal: x.req.Tty, Args: x.req.Cmd, Env: processEnv(&cfg, r.Config.Hostname, s.linkEnv(r)), Cwd: x.dir(r), ApparmorProfile: r.AppArmor,
		Capabilities: capabilitySets(caps, ""), Rlimits: limits, NoNewPrivileges: (sec.noNewPrivileges || s.Defaults.NoNewPrivileges) && !x.req.Privileged,
	}
	if size == nil {
		size = x.req.ConsoleSize
	}
	if size != nil && x.req.Tty {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	return json.Marshal(p)
}

// onExecExit records the end of an exec.
func (s *Service) onExecExit(execID string, code int) {
	x, err := s.findExec(execID)
	if err != nil {
		return // of an earlier daemon, or of a container that is gone
	}
	x.finish(code)
	r := x.ctr.view()
	s.publish(&r, events.ActionExecDie, "execID", execID, "exitCode", strconv.Itoa(code))
}

// endExecs ends a container's execs at the end of its run: they were killed with
// it. Their records stay for a while, since clients ask for the exit code.
func (s *Service) endExecs(containerID string) {
	s.mu.RLock()
	var ended []*execution
	for _, x := range s.execs {
		if x.ctr.rec.ID == containerID {
			ended = append(ended, x)
		}
	}
	s.mu.RUnlock()
	for _, x := range ended {
		x.finish(137)
	}
}

// loseExecs ends the records of running execs with the supervisor that had their
// streams and would have seen their exit codes.
func (s *Service) loseExecs() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, x := range s.execs {
		x.mu.Lock()
		running := x.running
		x.mu.Unlock()
		if running {
			x.finish(unknownExit)
		}
	}
}

// execMemory is how long an ended exec can be inspected, as in Docker.
const execMemory = 5 * time.Minute

// sweepExecs drops execs that ended long ago; the caller holds s.mu.
func (s *Service) sweepExecs() {
	for id, x := range s.execs {
		x.mu.Lock()
		if x.code != nil && time.Since(x.endedAt) > execMemory {
			delete(s.execs, id)
		}
		x.mu.Unlock()
	}
}

// dropExecs forgets a removed container's execs; the caller holds s.mu.
func (s *Service) dropExecs(containerID string) {
	for id, x := range s.execs {
		if x.ctr.rec.ID == containerID {
			delete(s.execs, id)
		}
	}
}

// Inspect tells the state of an exec.
func (e execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	x, err := e.s.findExec(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	priv := x.req.Privileged
	keys := []byte{}
	if x.req.DetachKeys != "" { // the usual ones are not shown
		keys = x.keys
	}
	return container.ExecInspectResponse{
		ID: x.id, Running: x.running, ExitCode: x.code, ContainerID: x.ctr.rec.ID, Pid: x.pid, DetachKeys: keys,
		OpenStdin: x.req.AttachStdin, OpenStdout: x.req.AttachStdout, OpenStderr: x.req.AttachStderr,
		ProcessConfig: &container.ExecProcessConfig{Tty: x.req.Tty, Entrypoint: x.req.Cmd[0], Arguments: slices.Clone(x.req.Cmd[1:]), Privileged: &priv, User: x.req.User},
	}, nil
}

// Resize sets the size of the exec's terminal.
func (e execs) Resize(ctx context.Context, id string, height, width uint16) error {
	x, err := e.s.findExec(id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	running := x.running
	x.mu.Unlock()
	if !running {
		return errs.New(errs.Conflict, "exec instance %s is not running", id)
	}
	return e.s.Supervisor.Resize(ctx, x.ctr.rec.ID, id, height, width)
}

func (s *Service) execIDs(containerID string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ids []string
	for id, x := range s.execs {
		x.mu.Lock()
		if x.ctr.rec.ID == containerID && x.running {
			ids = append(ids, id)
		}
		x.mu.Unlock()
	}
	return ids
}

func itoa[T int | uint16](n T) string { return strconv.Itoa(int(n)) }
