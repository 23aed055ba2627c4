package container

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apimount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Create makes a container without starting it. Every check that needs no side
// effect comes first.
func (s *Service) Create(ctx context.Context, req engine.ContainerCreate) (resp container.CreateResponse, err error) {
	resp.Warnings = []string{}
	if req.Config == nil {
		return resp, errs.New(errs.InvalidArgument, "config cannot be empty in order to create a container")
	}
	if req.Host == nil {
		req.Host = &container.HostConfig{}
	}
	img, err := s.Images.Resolve(ctx, req.Config.Image, req.Platform)
	if err != nil {
		return resp, err
	}
	cfg, host := mergeImage(req.Config, img), s.withDefaults(req.Host)
	if len(cfg.Entrypoint)+len(cfg.Cmd) == 0 {
		return resp, errs.New(errs.InvalidArgument, "no command specified")
	}
	if resp.Warnings, err = validate(cfg, host, thisMachine(), false); err != nil {
		return resp, err
	}
	if err := s.Defaults.checkCgroupParent(host.CgroupParent); err != nil {
		return resp, err
	}
	if err := s.checkUserns(host); err != nil {
		return resp, err
	}
	if cfg.WorkingDir != "" {
		cfg.WorkingDir = path.Clean(cfg.WorkingDir)
	}
	if err := s.checkModes(ctx, host, req.Network); err != nil {
		return resp, err
	}
	implied, err := s.labelOptions(host)
	if err != nil {
		return resp, err
	}
	host.SecurityOpt = append(slices.Clip(host.SecurityOpt), implied...)
	mounts, err := planMounts(cfg, host, s.mountsOf)
	if err != nil {
		return resp, badReference(err)
	}
	if err := planPropagation(mounts, s.DataRoot); err != nil {
		return resp, err
	}
	images, err := s.resolveImageMounts(ctx, mounts)
	if err != nil {
		return resp, err
	}
	if slices.ContainsFunc(host.Mounts, func(m apimount.Mount) bool { return m.Type == apimount.TypeImage }) {
		resp.Warnings = append(resp.Warnings, "Image mount is an experimental feature")
	}
	c := newCtr(record{
		ID: newID(), Created: time.Now().UTC(), Config: cfg, Host: host,
		ImageID: img.ID, Platform: img.Platform, Manifest: img.Manifest, Mounts: mounts,
		State: state{Status: container.StateCreated},
	})
	sec, err := parseSecurity(host)
	if err != nil {
		return resp, err
	}
	c.rec.AppArmor = sec.apparmor
	if c.rec.Labels, err = s.newLabels(sec.labels); err != nil {
		return resp, err
	}
	defer func() {
		if err != nil {
			s.releaseLabels(c.rec.Labels)
		}
	}()
	if req.Network != nil {
		c.rec.Network = req.Network.EndpointsConfig
	}
	if host.NetworkMode.IsBridge() {
		if c.rec.Links, err = s.resolveLinks(host.Links); err != nil {
			return resp, err
		}
	}
	argv := slices.Concat(cfg.Entrypoint, cfg.Cmd)
	c.rec.Path, c.rec.Args = argv[0], argv[1:]
	if cfg.Hostname, err = defaultHostname(cfg, host, c.rec.ID); err != nil {
		return resp, err
	}
	if err := s.make(ctx, c, req.Name, img, images); err != nil {
		return resp, err
	}
	resp.ID = c.rec.ID
	return resp, nil
}

// defaultHostname is the host's where the network is, and otherwise the short ID.
func defaultHostname(cfg *container.Config, h *container.HostConfig, id string) (string, error) {
	switch {
	case cfg.Hostname != "":
		return cfg.Hostname, nil
	case h.NetworkMode.IsHost():
		return os.Hostname()
	}
	return id[:12], nil
}

func newCtr(r record) *ctr {
	return &ctr{rec: r, gone: make(chan struct{})}
}

// make performs the side effects of create: name, directory and record, root
// file system, volumes. On failure all of them are undone.
func (s *Service) make(ctx context.Context, c *ctr, name string, img engine.Image, images map[string]engine.Image) (err error) {
	var undo cleanup.Stack
	defer func() {
		if err := undo.Run(); err != nil {
			s.Log.Error("undo create", "container", c.rec.ID, "error", err)
		}
	}()
	if c.rec.Name, err = s.reserve(c, name); err != nil {
		return err
	}
	c.rec.Name = strings.TrimPrefix(c.rec.Name, "/")
	undo.PushFunc(func() { s.releaseName(c, c.rec.Name) })
	s.mu.Lock()
	s.making[c.rec.ID] = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.making, c.rec.ID)
		s.mu.Unlock()
	}()
	if err := checkSources(c.rec.Mounts); err != nil {
		return err
	}
	if err := s.store.create(c.rec.ID); err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return s.store.remove(c.rec.ID) })
	if err := s.Images.PrepareRootfs(ctx, c.rec.ID, img, c.rec.Host.StorageOpt); err != nil {
		return err
	}
	undo.Push(func(ctx context.Context) error { return s.Images.RemoveRootfs(ctx, c.rec.ID) })
	undo.Push(func(ctx context.Context) error { return s.removeImageMounts(ctx, &c.rec) })
	if err := s.makeImageMounts(ctx, &c.rec, images); err != nil {
		return err
	}
	if err := s.mark(ctx, c.rec.ID); err != nil {
		return err
	}
	fresh, err := s.ensureVolumes(ctx, c)
	undo.Push(func(ctx context.Context) error { return s.removeAnonymous(ctx, c.rec.Mounts) })
	if err != nil {
		return err
	}
	if err := s.copyUp(ctx, c, fresh); err != nil {
		return err
	}
	if err := s.store.save(&c.rec); err != nil {
		return err
	}
	undo.Release()
	s.mu.Lock()
	s.byID[c.rec.ID] = c
	s.mu.Unlock()
	s.publish(&c.rec, events.ActionCreate)
	return nil
}

func (s *Service) removeAnonymous(ctx context.Context, ms []mountPoint) error {
	for _, m := range ms {
		if m.Anonymous && m.Name != "" {
			if err := s.Volumes.RemoveAnonymous(ctx, m.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) mountsOf(ref string) ([]mountPoint, error) {
	c, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	return c.view().Mounts, nil
}

// mergeImage fills what the request leaves open from the image, as Docker's
// create does. The request's value is not written to.
func mergeImage(in *container.Config, img engine.Image) *container.Config {
	cfg := *in
	if cfg.User == "" {
		cfg.User = img.Config.User
	}
	if len(cfg.Entrypoint) == 0 {
		if len(cfg.Cmd) == 0 {
			cfg.Cmd = img.Config.Cmd
		}
		if cfg.Entrypoint == nil {
			cfg.Entrypoint = img.Config.Entrypoint
		}
	}
	// --entrypoint "" comes as [""]: no entrypoint at all.
	if len(cfg.Entrypoint) == 1 && cfg.Entrypoint[0] == "" {
		cfg.Entrypoint = nil
	}
	if cfg.WorkingDir == "" {
		cfg.WorkingDir = img.Config.WorkingDir
	}
	if cfg.StopSignal == "" {
		cfg.StopSignal = img.Config.StopSignal
	}
	if cfg.Shell == nil {
		cfg.Shell = img.Shell
	}
	cfg.Env = mergeEnv(img.Config.Env, cfg.Env)
	if cfg.Labels = mergeMap(img.Config.Labels, cfg.Labels); cfg.Labels == nil {
		cfg.Labels = map[string]string{}
	}
	if cfg.Volumes = mergeMap(img.Config.Volumes, cfg.Volumes); len(cfg.Volumes) == 0 {
		cfg.Volumes = nil
	}
	cfg.ExposedPorts = mergePorts(img.Config.ExposedPorts, cfg.ExposedPorts)
	cfg.Healthcheck = mergeHealth(img.Health, cfg.Healthcheck)
	return &cfg
}

// mergeEnv puts those of the image's variables behind the request's that the
// request does not set.
func mergeEnv(image, own []string) []string {
	out := append(make([]string, 0, len(image)+len(own)), own...)
	for _, e := range image {
		key, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(own, func(o string) bool { k, _, _ := strings.Cut(o, "="); return k == key }) {
			out = append(out, e)
		}
	}
	return out
}

func mergeMap[V any](image, own map[string]V) map[string]V {
	if len(image) == 0 {
		return own
	}
	out := make(map[string]V, len(image)+len(own))
	for k, v := range image {
		out[k] = v
	}
	for k, v := range own {
		out[k] = v
	}
	return out
}

func mergePorts(image map[string]struct{}, own network.PortSet) network.PortSet {
	if len(image) == 0 {
		return own
	}
	out := network.PortSet{}
	for p := range own {
		out[p] = struct{}{}
	}
	for spec := range image {
		if r, err := network.ParsePortRange(spec); err == nil { // images with nonsense here exist; Docker ignores it too
			for p := range r.All() {
				out[p] = struct{}{}
			}
		}
	}
	return out
}

func mergeHealth(image, own *container.HealthConfig) *container.HealthConfig {
	if image == nil || own != nil && len(own.Test) > 0 && own.Test[0] == "NONE" {
		return own
	}
	if own == nil {
		return image
	}
	h := *own
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	if h.Interval == 0 {
		h.Interval = image.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = image.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = image.StartPeriod
	}
	if h.StartInterval == 0 {
		h.StartInterval = image.StartInterval
	}
	if h.Retries == 0 {
		h.Retries = image.Retries
	}
	return &h
}

// withDefaults fills the daemon's defaults into a copy of the host config.
func (s *Service) withDefaults(in *container.HostConfig) *container.HostConfig {
	h := *in
	if h.NetworkMode == "" || h.NetworkMode == network.NetworkDefault {
		h.NetworkMode = network.NetworkBridge
	}
	if h.IpcMode == "" {
		h.IpcMode = s.Defaults.IpcMode
	}
	if h.IpcMode == "" {
		h.IpcMode = container.IPCModePrivate
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = s.Defaults.CgroupnsMode
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = container.CgroupnsModePrivate
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory // as much swap as memory
	}
	if h.OomKillDisable == nil {
		h.OomKillDisable = new(bool)
	}
	if h.ShmSize == 0 {
		h.ShmSize = s.Defaults.ShmSize
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = s.Defaults.LogDriver
		if len(h.LogConfig.Config) == 0 {
			h.LogConfig.Config = s.Defaults.LogOpts
		}
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = logJSON
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if h.Runtime == "" {
		h.Runtime = DefaultRuntime
	}
	if h.MaskedPaths == nil && !h.Privileged {
		h.MaskedPaths = defaultMasked
	}
	if h.ReadonlyPaths == nil && !h.Privileged {
		h.ReadonlyPaths = defaultReadonly
	}
	if slices.Contains(h.SecurityOpt, "systempaths=unconfined") {
		h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
	}
	return &h
}

// DefaultRuntime is the name of the only OCI runtime that is registered.
const DefaultRuntime = "gantry-runtime"
