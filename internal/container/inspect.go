package container

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/gantry-run/gantry/internal/engine"
)

// Inspect gives everything about a container.
func (s *Service) Inspect(ctx context.Context, id string, size bool) (resp engine.ContainerInspect, err error) {
	c, err := s.find(id)
	if err != nil {
		return resp, err
	}
	r := c.view()
	host := *r.Host
	if len(r.Links) > 0 {
		host.Links = s.shownLinks(&r)
	}
	if ep := r.Network[string(r.Host.NetworkMode)]; ep != nil {
		resp.MacAddress = ep.MacAddress
	}
	resp.InspectResponse = container.InspectResponse{
		ID: r.ID, Created: r.Created.Format(time.RFC3339Nano), Path: r.Path, Args: notNil(r.Args),
		State: apiState(c, r.State), Image: r.ImageID, Name: "/" + r.Name, RestartCount: r.RestartCount,
		ResolvConfPath: s.netFile(&r, "resolv.conf"), HostnamePath: s.netFile(&r, "hostname"), HostsPath: s.netFile(&r, "hosts"),
		LogPath: s.logPath(&r), Driver: "overlayfs", Platform: r.Platform.OS, ExecIDs: s.execIDs(r.ID),
		AppArmorProfile: r.AppArmor, ProcessLabel: r.Labels.Process, MountLabel: r.Labels.Mount, HostConfig: &host, Mounts: apiMounts(r.Mounts), Config: r.Config,
		NetworkSettings: networkSettings(&r), ImageManifestDescriptor: r.Manifest,
	}
	resp.Storage = &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: "overlayfs"}}}
	if size {
		rw, total, err := s.Images.RootfsUsage(ctx, r.ID)
		if err != nil {
			return resp, err
		}
		resp.SizeRw, resp.SizeRootFs = &rw, &total
	}
	return resp, nil
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (s *Service) netFile(r *record, name string) string {
	if r.State.StartedAt.IsZero() {
		return ""
	}
	return s.store.file(r.ID, name)
}

func apiState(c *ctr, st state) *container.State {
	out := &container.State{
		Status: st.Status, Running: st.running() || st.Status == container.StateRestarting, Paused: st.Status == container.StatePaused,
		Restarting: st.Status == container.StateRestarting, OOMKilled: st.OOMKilled, Dead: st.Status == container.StateDead,
		Pid: st.Pid, ExitCode: st.ExitCode, Error: st.Error,
		StartedAt: st.StartedAt.Format(time.RFC3339Nano), FinishedAt: st.FinishedAt.Format(time.RFC3339Nano),
	}
	if h := c.healthView(); h.Status != container.NoHealthcheck {
		out.Health = h
	}
	return out
}

// networkSettings shows the operational data while the container runs, and the
// networks that it will join otherwise.
func networkSettings(r *record) *container.NetworkSettings {
	ns := &container.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	for name, ep := range endpoints(r) {
		ns.Networks[name] = ep
	}
	if r.State.running() {
		ns.SandboxID = r.ID
		ns.SandboxKey = fmt.Sprintf("/proc/%d/ns/net", r.State.Pid)
		for p, b := range r.Ports {
			ns.Ports[p] = b
		}
		for p := range r.Config.ExposedPorts {
			if _, ok := ns.Ports[p]; !ok {
				ns.Ports[p] = nil
			}
		}
	}
	return ns
}

// endpoints are those of a run, or else the networks that the next will join.
func endpoints(r *record) map[string]*network.EndpointSettings {
	if r.Host.NetworkMode.IsContainer() || r.Config.NetworkDisabled {
		return map[string]*network.EndpointSettings{}
	}
	if len(r.Endpoints) > 0 {
		return r.Endpoints
	}
	mode := string(r.Host.NetworkMode)
	if ep := r.Network[mode]; ep != nil {
		return map[string]*network.EndpointSettings{mode: ep}
	}
	return map[string]*network.EndpointSettings{mode: {}}
}

// idleEndpoints keeps of an ended run's endpoints what identifies the network.
func idleEndpoints(eps map[string]*network.EndpointSettings) map[string]*network.EndpointSettings {
	out := make(map[string]*network.EndpointSettings, len(eps))
	for name, ep := range eps {
		out[name] = &network.EndpointSettings{
			IPAMConfig: ep.IPAMConfig, Links: ep.Links, Aliases: ep.Aliases, DriverOpts: ep.DriverOpts,
			GwPriority: ep.GwPriority, NetworkID: ep.NetworkID, DNSNames: slices.Clone(ep.DNSNames),
		}
	}
	return out
}
