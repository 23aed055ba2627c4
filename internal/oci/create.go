package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/seccomp"
	"github.com/gantry-run/gantry/internal/oci/plan"
	"github.com/gantry-run/gantry/internal/oci/specjson"
)

// Create sets a container up; its program waits for Start. The caller reaps the
// process, which is init already. An id in use is errs.Conflict.
func (r *Runtime) Create(ctx context.Context, id string, o CreateOptions) (*Container, *Process, error) {
	return r.create(ctx, id, o, true)
}

// Run is Create and Start in one, without the pause between. When it returns,
// the container's program has been executed.
func (r *Runtime) Run(ctx context.Context, id string, o CreateOptions) (*Container, *Process, error) {
	c, p, err := r.create(ctx, id, o, false)
	if err != nil {
		return nil, nil, err
	}
	if err := c.runHooks("poststart", c.state.Poststart, specs.StateRunning); err != nil {
		return nil, nil, errors.Join(err, c.Delete(ctx, true), p.abandon())
	}
	return c, p, nil
}

// creation is all that is known about a container before anything is done.
type creation struct {
	spec       *specs.Spec
	plan       *plan.Init
	namespaces plan.Namespaces
	resources  *specs.LinuxResources
	options    CreateOptions
	wait       bool
	early      early
}

func (r *Runtime) create(ctx context.Context, id string, o CreateOptions, wait bool) (_ *Container, _ *Process, err error) {
	early := r.separate(o)
	defer early.thread.End()
	c, job, err := r.plan(id, o, wait)
	if err != nil {
		return nil, nil, err
	}
	job.early = early
	var undo cleanup.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.Run())
		}
	}()
	if err := c.claim(&undo); err != nil {
		return nil, nil, err
	}
	p, err := c.launch(ctx, job, &undo)
	if err != nil {
		return nil, nil, err
	}
	undo.Release()
	return c, p, nil
}

// plan finds out what a container is to be; nothing exists yet.
func (r *Runtime) plan(id string, o CreateOptions, wait bool) (*Container, *creation, error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	job, err := newCreation(id, o, wait)
	if err != nil {
		return nil, nil, err
	}
	r.warnOfCaps(job.spec.Process.Capabilities)
	c, err := r.newContainer(id, job)
	return c, job, err
}

func (r *Runtime) warnOfCaps(c *specs.LinuxCapabilities) {
	for _, name := range plan.LostAmbient(c) {
		r.log.Warn("can't raise ambient capability " + name + ": it is not permitted and inheritable too")
	}
}

func newCreation(id string, o CreateOptions, wait bool) (*creation, error) {
	job := &creation{spec: o.Spec, options: o, wait: wait}
	if job.spec == nil {
		var err error
		if job.spec, err = LoadSpec(o.Bundle); err != nil {
			return nil, err
		}
	}
	if job.spec.Process == nil {
		return nil, errs.New(errs.InvalidArgument, "process property must not be empty")
	}
	rootPath := ""
	if job.spec.Root != nil {
		rootPath = job.spec.Root.Path
	}
	if !filepath.IsAbs(rootPath) {
		rootPath = filepath.Join(o.Bundle, rootPath)
	}
	var err error
	if job.plan, job.namespaces, err = plan.Build(id, job.spec, rootPath); err != nil {
		return nil, err
	}
	if err := checkLabel(job.plan.Process.SELinux); err != nil {
		return nil, err
	}
	for i := range job.plan.Root.Targets {
		if m := &job.plan.Root.Targets[i]; m.Options.Bind && !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(o.Bundle, m.Source)
		}
	}
	if o.Netns != nil {
		job.namespaces.Clone &^= unix.CLONE_NEWNET
		delete(job.namespaces.Join, "network")
		job.plan.LoopbackUp = false
	}
	if job.plan.Root.Shared && len(o.RootfsMounts) > 0 {
		return nil, errs.New(errs.Unsupported, "the root filesystem is mounted for containers with a mount namespace of their own only")
	}
	for _, m := range o.RootfsMounts {
		job.plan.Root.AddRootMount(m.Type, m.Source, m.Options)
	}
	if job.plan.Root.MapsIDs() && (!job.plan.UserNS || !mayMount()) {
		return nil, errs.New(errs.Unsupported, "only for a container in a user namespace, and by root, can the ids of the root filesystem be mapped")
	}
	job.plan.Process.User = o.User.plan()
	job.plan.Process.KeepLineEnds = o.KeepLineEnds
	job.plan.Root.NoPivot, job.plan.Root.Mtab = o.NoPivot, o.Mtab
	if !o.NoNewKeyring {
		job.plan.Keyring = "_ses." + id
	}
	if job.spec.Linux != nil {
		job.resources = job.spec.Linux.Resources
	}
	return job, nil
}

func (job *creation) cgroupsPath() string {
	if job.spec.Linux == nil {
		return ""
	}
	return job.spec.Linux.CgroupsPath
}

// LoadSpec reads a bundle's config.json.
func LoadSpec(bundle string) (*specs.Spec, error) {
	data, err := fd.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "JSON specification file config.json not found")
	}
	if err != nil {
		return nil, fmt.Errorf("read bundle's specification: %w", err)
	}
	return specjson.Decode(data)
}

// newContainer makes the record; nothing exists yet.
func (r *Runtime) newContainer(id string, job *creation) (*Container, error) {
	locate := cgroup.Locate
	if r.systemdCgroup || job.options.SystemdCgroup {
		locate = cgroup.LocateScope
	}
	group, err := locate(job.cgroupsPath(), id)
	if err != nil {
		return nil, err
	}
	rdt, err := r.planRdt(id, job)
	if err != nil {
		return nil, err
	}
	p := &job.plan.Process
	c := &Container{id: id, rt: r, dir: r.dir(id), state: record{
		OCIVersion: job.spec.Version, ID: id, Bundle: job.options.Bundle, Rootfs: job.plan.Root.Path,
		Created: time.Now().UTC(), Annotations: job.spec.Annotations, OwnerUID: os.Getuid(), Cgroup: group, Resctrl: rdt,
		UserNS: job.plan.UserNS, TimeNS: job.namespaces.Time || job.namespaces.Join["time"] != "",
		SharedPIDs: job.namespaces.Clone&unix.CLONE_NEWPID == 0,
		Keyring:    job.plan.Keyring, Personality: job.plan.Personality, MemoryPolicy: job.plan.MemoryPolicy,
		ExecCPUs: job.spec.Process.ExecCPUAffinity, Seccomp: p.Seccomp,
		Dump:     newDumpPlan(job),
		Defaults: execDefaults{AppArmor: p.AppArmor, SELinux: p.SELinux, NoNewPrivs: p.NoNewPrivs},
	}}
	if job.plan.Root.Shared {
		c.state.Shared = &sharedMounts{} // see share
	}
	if p.Caps != nil {
		c.state.Defaults.Caps = *p.Caps
		c.state.Defaults.Caps.Ambient, c.state.Defaults.Caps.Inheritable = 0, 0
		if p.Caps.Ambient != 0 {
			c.state.Defaults.Caps = *p.Caps
		}
	}
	if l := job.spec.Linux; l != nil && l.Seccomp != nil && l.Seccomp.ListenerPath != "" {
		c.state.Listener = &seccompListener{Path: l.Seccomp.ListenerPath, Metadata: l.Seccomp.ListenerMetadata}
	}
	if h := job.spec.Hooks; h != nil {
		c.state.Poststart, c.state.Poststop = plan.Hooks(h.Poststart), plan.Hooks(h.Poststop)
	}
	return c, nil
}

// claim takes the id, which only one can, and records where the cgroup will be:
// that is all there is to clean up until the full record is written.
func (c *Container) claim(undo *cleanup.Stack) error {
	err := os.Mkdir(c.dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(c.dir), 0o700); err == nil {
			err = os.Mkdir(c.dir, 0o700)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return errs.New(errs.Conflict, "container with given ID already exists")
	}
	if err != nil {
		return fmt.Errorf("create container state: %w", err)
	}
	undo.Push(func(context.Context) error { return os.RemoveAll(c.dir) })
	intent, err := encodeGroup(c.state.Cgroup)
	if err == nil {
		err = os.WriteFile(c.file(intentFile), intent, 0o600)
	}
	if err != nil {
		return fmt.Errorf("create container state: %w", err)
	}
	return nil
}

// launch makes cgroup and process, which waits for its orders before it does
// anything.
func (c *Container) launch(ctx context.Context, job *creation, undo *cleanup.Stack) (*Process, error) {
	limits, err := buildResources(job.resources, c.state.Cgroup.V2())
	if err != nil {
		return nil, err
	}
	if err := c.permitGroup(limits, undo); err != nil {
		return nil, err
	}
	group := c.state.Cgroup
	if job.plan.Root != nil {
		job.plan.Root.CgroupDirs, job.plan.Root.CgroupUnified = group.V1, group.Unified
	}
	devices, err := c.deviceRules(job.resources)
	if err != nil {
		return nil, err
	}
	if isTight(limits.PidsLimit) {
		c.state.LatePids, limits.PidsLimit, job.plan.WaitLimits = limits.PidsLimit, nil, true
	}
	job.plan.WaitLimits = job.plan.WaitLimits || group.Scope != nil
	// The cgroup and the filter are made while a thread makes the mounts.
	ready := async(func() (groundwork, error) { return c.layGround(job.spec, limits, devices) })
	s, err := c.spawnInit(job, ready)
	ground, _ := ready() // its error is one of spawnInit, too
	defer ground.door.Close()
	defer ground.hold.Release()
	if ground.ours {
		undo.Push(group.Remove)
	}
	if err != nil {
		_, lack := ready()
		return nil, cmp.Or(lack, err) // a step that waited for the ground is not to blame
	}
	defer s.closeFiles()
	undo.Push(c.unmountShared)
	undo.Push(func(context.Context) error { return s.kill() })
	c.mu.Lock()
	c.state.Pid, c.state.StartTime = s.child.Pid, s.startTime
	c.state.Creating = !s.scripted // a scripted one is born in its root
	c.mu.Unlock()
	c.rt.log.Debug("container has an init", "container", c.id, "pid", s.child.Pid)
	if err := c.writeState(); err != nil {
		return nil, err
	}
	if err := c.enterRdt(job, s.child.Pid, undo); err != nil {
		return nil, err
	}
	if err := job.moveDevices(s.child.Pid); err != nil {
		return nil, err
	}
	if h := &job.plan.Hooks; len(h.Create)+len(h.StartContainer) > 0 {
		if h.State, err = json.Marshal(c.specState(specs.StateCreating)); err != nil {
			return nil, err
		}
	}
	s.limits = func() error {
		ground.hold.Release() // init has entered, and shall see nobody else
		return c.setLateLimits()
	}
	s.mount = c.keepMount
	s.hooks = func() error { return c.runtimeHooks(job.spec.Hooks) }
	s.notify = c.notifier(specs.StateCreating)
	if err := s.handshake(ctx, job.plan, ground.filter, job.wait); err != nil {
		return nil, c.explain(err)
	}
	if err := c.created(); err != nil {
		return nil, err
	}
	return s.process(job.options.ConsoleSocket)
}

// created records that init is in its root.
func (c *Container) created() error {
	c.mu.Lock()
	creating := c.state.Creating
	c.state.Creating = false
	c.mu.Unlock()
	if !creating {
		return nil
	}
	return c.writeState()
}

// groundwork is what init needs besides its mounts.
type groundwork struct {
	ours   bool // the group has been made; else it is nobody's, or another container's
	door   *cgroup.Door
	hold   *cgroup.Placeholder // keeps a new scope until init has entered, nil: none is needed
	filter *seccomp.Program
}

// async runs f on a goroutine of its own; the returned function waits for it.
func async[T any](f func() (T, error)) func() (T, error) {
	var value T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = f()
	}()
	return func() (T, error) {
		<-done
		return value, err
	}
}

// permitGroup makes do with the cgroups that this user may make.
func (c *Container) permitGroup(limits *cgroup.Resources, undo *cleanup.Stack) error {
	if !c.rt.rootless() || c.state.Cgroup.Scope != nil {
		return nil
	}
	group, err := c.state.Cgroup.Permitted(limits)
	if err != nil {
		return err
	}
	undo.Push(group.Remove)
	c.state.Cgroup = group
	return nil
}

// layGround makes the cgroup, opens it for init to enter, and compiles the
// filter. What it gives with an error is the caller's to close all the same.
func (c *Container) layGround(spec *specs.Spec, limits *cgroup.Resources, devices []cgroup.DeviceRule) (g groundwork, err error) {
	group := c.state.Cgroup
	if group.Scope != nil {
		g.hold, err = c.startScope(spec.Annotations, limits, devices)
		g.ours = err == nil
	} else if err = group.Create(limits); err == nil {
		g.ours = true
		err = c.setUpGroup(limits, devices)
	}
	if err != nil {
		return g, err
	}
	if g.door, err = group.Open(nil); err != nil {
		return g, err
	}
	g.filter, err = c.compileSeccomp(spec)
	return g, err
}

func (c *Container) startScope(annotations map[string]string, limits *cgroup.Resources, devices []cgroup.DeviceRule) (*cgroup.Placeholder, error) {
	properties, err := cgroup.AnnotatedProperties(annotations)
	if err != nil {
		return nil, err
	}
	if c.rt.rootless() {
		devices = nil // not this user's to limit, see setUpGroup
	}
	return c.state.Cgroup.StartScope(limits, devices, properties)
}

func (c *Container) setUpGroup(limits *cgroup.Resources, devices []cgroup.DeviceRule) error {
	group := c.state.Cgroup
	if err := group.Set(limits); err != nil {
		return err
	}
	// Without it, a user namespace keeps devices away: nobody can make them there.
	if err := group.AllowDevices(devices); err != nil && !c.rt.rootless() {
		return err
	}
	return nil
}

// tightPids is a limit of processes that init's own threads could exceed. Such a
// limit is set when init is about to execute the program and needs no more.
const tightPids = 32

// isTight tells whether there is such a limit. A negative one is none.
func isTight(limit *int64) bool { return limit != nil && *limit >= 0 && *limit < tightPids }

// setLateLimits sets the limit that the record has by now: see Update.
func (c *Container) setLateLimits() error {
	late := c.latePids()
	if late == nil {
		return nil
	}
	now, err := readState(c.dir)
	if err != nil || now.LatePids == nil {
		return err
	}
	return c.state.Cgroup.Set(&cgroup.Resources{PidsLimit: now.LatePids})
}

func (c *Container) latePids() *int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.LatePids
}

// compileSeccomp compiles the filter and keeps it for later execs.
func (c *Container) compileSeccomp(spec *specs.Spec) (*seccomp.Program, error) {
	if spec.Linux == nil || spec.Linux.Seccomp == nil {
		return nil, nil
	}
	program, err := seccomp.Compile(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	if program.Notifies() && spec.Linux.Seccomp.ListenerPath == "" {
		return nil, errs.New(errs.InvalidArgument, "seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
	}
	raw, err := program.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.file(seccompFile), raw, 0o600); err != nil {
		return nil, fmt.Errorf("keep seccomp program: %w", err)
	}
	return program, nil
}

// explain adds what init could not know about its own death.
func (c *Container) explain(err error) error {
	if !errors.Is(err, errInitDied) {
		return err
	}
	if n, oerr := c.state.Cgroup.OOMKills(); oerr == nil && n > 0 {
		return errs.New(errs.InvalidArgument, "container init was OOM-killed (memory limit too low?)")
	}
	return err
}

// defaultCaps is used by exec if nothing else is said.
func (c *Container) defaultCaps() *capability.Sets {
	caps := c.state.Defaults.Caps
	return &caps
}
