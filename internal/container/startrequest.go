package container

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/seccompprofile"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// startRequest plans the run: files beside the record, spec, rootfs, log.
func (s *Service) startRequest(ctx context.Context, r *record, sandbox *engine.Sandbox) (req wire.Start, err error) {
	if err := s.Defaults.checkCgroupParent(r.Host.CgroupParent); err != nil { // the driver may be another than at create
		return req, err
	}
	sec, err := parseSecurity(r.Host)
	if err != nil {
		return req, err
	}
	p, err := s.planRun(ctx, r, sec, sandbox)
	if err != nil {
		return req, err
	}
	if err := s.prepareMounts(ctx, r); err != nil {
		return req, err
	}
	sp, err := s.finishSpec(p, sec)
	if err != nil {
		return req, err
	}
	if req.Spec, err = json.Marshal(sp); err != nil {
		return req, fmt.Errorf("encode spec of container %s: %w", r.ID, err)
	}
	if req.Rootfs, err = s.rootfsOf(ctx, p); err != nil {
		return req, err
	}
	if err := os.MkdirAll(sp.Root.Path, 0o711); err != nil {
		return req, fmt.Errorf("create mount point of container %s: %w", r.ID, err)
	}
	req.Systemd = s.Defaults.SystemdCgroup
	req.Bundle, req.User = p.bundle, wire.User{Name: plainUser(r.Config.User), Groups: r.Host.GroupAdd}
	s.streams(r, &req)
	return req, nil
}

// planRun finds out all that the spec depends on, and writes the container's files of
// the network.
func (s *Service) planRun(ctx context.Context, r *record, sec security, sandbox *engine.Sandbox) (p *plan, err error) {
	p = &plan{
		rec: r, bundle: s.store.dir(r.ID), initBinary: s.InitBinary, defInit: s.Defaults.Init,
		cgroup: s.Defaults.cgroupPath(r.Host.CgroupParent, r.ID), netFiles: true,
		cgroupsRW: sec.writableCgroups, noNewPriv: sec.noNewPrivileges || s.Defaults.NoNewPrivileges,
		ids: r.State.Remap,
	}
	if p.ids != nil {
		_, err := os.Stat("/dev/mqueue")
		p.hostQueues = err == nil
	}
	if p.joined, err = s.joinedNamespaces(r); err != nil {
		return nil, err
	}
	if r.AppArmor, err = s.appArmor(ctx, sec.apparmor, r.Host.Privileged); err != nil {
		return nil, err
	}
	p.appArmor, p.labels = r.AppArmor, s.labelsOf(r)
	if p.caps, err = capabilities(r.Host); err != nil {
		return nil, err
	}
	if p.devices, p.deviceList, err = hostDevices(r.Host); err != nil {
		return nil, err
	}
	if p.ulimits, err = parseUlimits(r.Host.Ulimits, s.Defaults.Ulimits); err != nil {
		return nil, err
	}
	p.hostname, p.linkEnv, err = s.networkFiles(r, sandbox)
	return p, err
}

// prepareMounts makes what the container's mounts need outside of it.
func (s *Service) prepareMounts(ctx context.Context, r *record) error {
	if err := s.prepareSources(r.Mounts, r.State.Remap); err != nil {
		return err
	}
	if err := s.findImageMounts(ctx, r); err != nil {
		return err
	}
	if err := s.relabel(r); err != nil {
		return err
	}
	if err := checkSubpaths(r.Mounts); err != nil {
		return err
	}
	return r.findMapped(r.State.Remap)
}

// finishSpec makes the spec, with what files and images say about it.
func (s *Service) finishSpec(p *plan, sec security) (*specs.Spec, error) {
	sp, err := p.spec()
	if err != nil {
		return nil, err
	}
	if err := s.injectDevices(sp, p.rec.Host.DeviceRequests); err != nil {
		return nil, err
	}
	if sp.Linux.Seccomp, err = s.seccomp(sec.seccomp, p.rec.Host.Privileged, sp); err != nil {
		return nil, err
	}
	// One without a limit, too: it could fill the project of another.
	if s.Images.RootfsLimits() {
		sp.Linux.Seccomp = seccompprofile.KeepProjects(sp.Linux.Seccomp)
	}
	return sp, nil
}

// rootfsOf lists the mounts of the root filesystem.
func (s *Service) rootfsOf(ctx context.Context, p *plan) ([]wire.Mount, error) {
	mounts, err := s.Images.RootfsMounts(ctx, p.rec.ID)
	if err != nil {
		return nil, err
	}
	var all []wire.Mount
	for _, m := range mounts {
		options := slices.Clip(m.Options)
		if p.ids != nil {
			options = append(options, idmap)
		}
		if p.labels.Mount != "" && m.Type == "overlay" {
			options = append(options, "context="+p.labels.Mount)
		}
		all = append(all, wire.Mount{Type: m.Type, Source: m.Source, Options: options})
	}
	return all, nil
}

// streams fills in what the supervisor must know of the standard streams.
func (s *Service) streams(r *record, req *wire.Start) {
	req.OpenStdin, req.StdinOnce, req.TTY = r.Config.OpenStdin, r.Config.StdinOnce, r.Config.Tty
	req.Log = s.log(r)
}
