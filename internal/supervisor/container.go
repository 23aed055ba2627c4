package supervisor

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/oci/specjson"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// drainGrace is how long the exit of a container waits for the end of its
// output when a process outside of it still holds the pipes.
const drainGrace = 2 * time.Second

// container is one container from its first attach or start to forget.
type container struct {
	id  string
	srv *Server

	starting sync.Mutex // one start at a time

	mu      sync.Mutex
	waiting []*sink // attached before start
	run     *run    // the current or last run
	execs   map[string]*streams
	exit    *wire.Exit

	forgotten bool // the daemon has recorded the exit
}

// run is one life of a container's init.
type run struct {
	rt        *oci.Container
	pid       int
	startedAt time.Time
	paused    bool
	io        *streams
	log       logWriter
	repeaters repeaters
	oom       *oci.OOMWatch // nil where the group can be asked
	mounts    *os.File      // see oci.Process; nil if it was not there
	dumps     sync.Mutex    // held while criu has to do with it
	dumped    bool          // a checkpoint is to end it; container.mu
	returned  chan struct{} // closed when an adopted run has the streams that the daemon had; nil if not adopted
	over      bool          // init has ended: io and log stay what they are
	done      chan struct{} // closed when the exit is published and the kernel cleaned
}

func (c *container) start(ctx context.Context, s wire.Start, netns int) (int, error) {
	c.srv.sweep(ctx)
	c.starting.Lock()
	defer c.starting.Unlock()
	if err := c.awaitEnd(ctx); err != nil {
		return 0, err
	}
	// The daemon that starts it again has recorded the exit, even if it was killed
	// before it could say so. A later supervisor would take this run for ended.
	if err := c.srv.exits.remove(c.id); err != nil {
		return 0, fmt.Errorf("forget earlier exit of container %s: %w", c.id, err)
	}
	spec, err := specjson.Decode(s.Spec)
	if err != nil {
		return 0, errs.New(errs.InvalidArgument, "decode spec of container %s: %w", c.id, err)
	}
	if spec.Process == nil {
		return 0, errs.New(errs.InvalidArgument, "spec of container %s has no process", c.id)
	}
	var undo cleanup.Stack
	defer undo.Run() //nolint:errcheck // the start error is the one to report
	log, err := openLog(s.Log)
	if err != nil {
		return 0, err
	}
	if log != nil {
		undo.PushFunc(func() { _ = log.Close() })
	}
	p, err := newPipes(s.OpenStdin, s.TTY)
	if err != nil {
		return 0, err
	}
	undo.PushFunc(p.closeOurs)
	if err := p.addSpools(); err != nil {
		return 0, fmt.Errorf("create spools of container %s: %w", c.id, err)
	}
	var ns *os.File
	if netns >= 0 {
		dup, err := unix.FcntlInt(uintptr(netns), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("duplicate network namespace of container %s: %w", c.id, err)
		}
		ns = os.NewFile(uintptr(dup), "netns")
		defer ns.Close() //nolint:errcheck // the container's init has its own
	}
	rt, proc, err := c.bear(ctx, &s, oci.CreateOptions{
		Bundle: s.Bundle, Spec: spec, RootfsMounts: rootfsMounts(s.Rootfs), Netns: ns, IO: p.theirs, OwnIO: true,
		User: &oci.NamedUser{User: s.User.Name, Groups: s.User.Groups}, KeepMounts: true, SystemdCgroup: s.Systemd, Mtab: true,
	})
	p.closeTheirs()
	if err != nil {
		c.dropWaiting()
		c.srv.remains(c.id)
		return 0, err
	}
	undo.Release()
	proc.Console = pollable(proc.Console)
	r := &run{rt: rt, pid: proc.Pid, startedAt: time.Now(), log: log, mounts: proc.Mounts, done: make(chan struct{})}
	c.watchOOM(r)
	r.io = p.streams(proc.Console, s.StdinOnce)
	r.io.onStdinClosed = c.stdinClosed
	c.began(r, p, proc)
	if err := c.srv.reaper.add(proc.Pid, proc.PidFD, func(st status) { c.ended(r, st) }); err != nil {
		_ = unix.Kill(proc.Pid, unix.SIGKILL) // it cannot be supervised, so it must not run
		return 0, err
	}
	return proc.Pid, nil
}

// watchOOM is best effort: what runs, runs.
func (c *container) watchOOM(r *run) {
	var err error
	if r.oom, err = r.rt.WatchOOM(); err != nil {
		c.srv.log.Warn("watch container's memory", "container", c.id, "error", err)
	}
}

func (c *container) stdinClosed() { c.srv.publish(wire.Event{ID: c.id, StdinClosed: true}) }

// awaitEnd waits until an earlier run is fully gone; one that lives is a conflict.
func (c *container) awaitEnd(ctx context.Context) error {
	c.mu.Lock()
	r, exit := c.run, c.exit
	c.mu.Unlock()
	if r == nil {
		return nil
	}
	if exit == nil {
		return errs.New(errs.Conflict, "container %s is already running", c.id)
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// began publishes the run inside the supervisor and lets its output flow.
func (c *container) began(r *run, p *pipes, proc *oci.Process) {
	c.srv.mu.Lock()
	c.srv.containers[c.id] = c // a forget may have come between obtain and here
	c.srv.mu.Unlock()
	c.mu.Lock()
	c.run, c.exit, c.forgotten = r, nil, false
	c.mu.Unlock()
	for _, k := range c.takeWaiting() {
		r.io.attach(k)
	}
	p.pump(r.io, proc.Console, r.log, func(err error) {
		c.srv.log.Warn("write container log", "container", c.id, "error", err)
	})
}

// ended is called when init has been reaped: drain, record, publish, clean up.
func (c *container) ended(r *run, st status) {
	at := time.Now()
	// Before anything else: systemd is removing the group already, if it made it.
	oom := st.signal == unix.SIGKILL && (r.rt.OOMKilled() || r.oom.Killed())
	r.oom.Close()
	c.endRepeaters(r)
	r.awaitStreams()
	c.mu.Lock()
	io, log, dumped := r.io, r.log, r.dumped // resume may have replaced them
	r.over = true
	c.mu.Unlock()
	io.drain()
	if log != nil {
		if err := log.Close(); err != nil {
			c.srv.log.Warn("close container log", "container", c.id, "error", err)
		}
	}
	exit := wire.Exit{Code: st.code, At: at, Unknown: !st.known, OOMKilled: oom, Dumped: dumped && st.signal == unix.SIGKILL && !oom}
	if err := c.srv.exits.save(c.id, exit); err != nil {
		c.srv.log.Error("record exit", "container", c.id, "error", err)
	}
	c.mu.Lock()
	c.exit = &exit
	c.mu.Unlock()
	c.srv.publish(wire.Event{ID: c.id, Exit: exit})
	io.finish()
	c.clean(r)
}

// clean removes what the kernel still has of an ended run.
func (c *container) clean(r *run) {
	unmounted := make(chan struct{})
	go func() {
		defer close(unmounted)
		if r.mounts != nil {
			_ = r.mounts.Close() // a namespace has nothing to flush
		}
	}()
	err := r.afterDump(func(ctx context.Context) error { return r.rt.Delete(ctx, true) })
	if err != nil {
		c.srv.log.Warn("delete container from the kernel", "container", c.id, "error", err)
		c.srv.remains(c.id)
	}
	<-unmounted
	close(r.done)
	c.srv.release(c)
	c.srv.idleCheck()
}

// afterDump does f when criu has left the cgroup. The time for it begins then: a dump
// may take longer.
func (r *run) afterDump(f func(context.Context) error) error {
	r.dumps.Lock()
	defer r.dumps.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), cleanup.Timeout)
	defer cancel()
	return f(ctx)
}

// awaitStreams waits until an adopted run has its streams back: they may hold
// output that no supervisor has seen.
func (r *run) awaitStreams() {
	if r.returned == nil {
		return
	}
	t := time.NewTimer(drainGrace)
	defer t.Stop()
	select {
	case <-r.returned:
	case <-t.C: // there is no daemon
	}
}

func (c *container) exec(ctx context.Context, execID string, e wire.Exec) (int, *streams, error) {
	r, err := c.running()
	if err != nil {
		return 0, nil, err
	}
	process, err := specjson.DecodeProcess(e.Process)
	if err != nil {
		return 0, nil, errs.New(errs.InvalidArgument, "decode process of exec %s: %w", execID, err)
	}
	p, err := newPipes(e.OpenStdin, e.TTY)
	if err != nil {
		return 0, nil, err
	}
	proc, err := r.rt.Exec(ctx, oci.ExecOptions{Process: process, IO: p.theirs, OwnIO: true, User: &oci.NamedUser{User: e.User.Name, Groups: e.User.Groups}})
	p.closeTheirs()
	if err != nil {
		p.closeOurs()
		return 0, nil, err
	}
	proc.Console = pollable(proc.Console)
	io := p.streams(proc.Console, true)
	c.mu.Lock()
	if c.execs == nil {
		c.execs = map[string]*streams{}
	}
	c.execs[execID] = io
	c.mu.Unlock()
	go func() { // the caller attaches first, then releases the output
		<-io.ready
		p.pump(io, proc.Console, nil, nil)
		err := c.srv.reaper.add(proc.Pid, proc.PidFD, func(st status) { c.execEnded(execID, io, st) })
		if err != nil {
			c.srv.log.Error("watch exec", "container", c.id, "exec", execID, "error", err)
		}
	}()
	return proc.Pid, io, nil
}

func (c *container) execEnded(execID string, io *streams, st status) {
	at := time.Now()
	io.drain()
	c.mu.Lock()
	delete(c.execs, execID)
	c.mu.Unlock()
	c.srv.publish(wire.Event{ID: c.id, ExecID: execID, Exit: wire.Exit{Code: st.code, At: at, Unknown: !st.known}})
	io.finish()
}

func (c *container) running() (*run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil || c.exit != nil {
		return nil, errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	return c.run, nil
}

func (c *container) resize(execID string, height, width uint16) error {
	c.mu.Lock()
	var io *streams
	if execID != "" {
		io = c.execs[execID]
	} else if c.run != nil && c.exit == nil {
		io = c.run.io
	}
	c.mu.Unlock()
	if io == nil {
		return errs.New(errs.Conflict, "container %s is not running", c.id)
	}
	if err := io.resize(height, width); err != nil {
		return fmt.Errorf("resize terminal of container %s: %w", c.id, err)
	}
	return nil
}

func (c *container) snapshot() (wire.Container, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil && c.exit == nil {
		return wire.Container{}, false
	}
	w := wire.Container{ID: c.id, Exit: c.exit}
	if c.run != nil {
		w.Pid, w.StartedAt, w.Paused = c.run.pid, c.run.startedAt, c.run.paused
	}
	for id := range c.execs {
		w.Execs = append(w.Execs, id)
	}
	return w, true
}

func rootfsMounts(ms []wire.Mount) []oci.RootfsMount {
	out := make([]oci.RootfsMount, len(ms))
	for i, m := range ms {
		out[i] = oci.RootfsMount{Type: m.Type, Source: m.Source, Options: m.Options}
	}
	return out
}
