package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// fakeImages records what it is asked for.
type fakeImages struct {
	engine.Images
	mu     sync.Mutex
	pulls  []engine.ImagePull
	loaded []byte
	calls  []string
	filter engine.Filters
}

func (f *fakeImages) call(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fakeImages) Pull(_ context.Context, req engine.ImagePull, p engine.Progress) error {
	f.mu.Lock()
	f.pulls = append(f.pulls, req)
	f.mu.Unlock()
	if strings.HasPrefix(req.Ref, "denied") {
		return errs.New(errs.NotFound, "pull access denied for denied, repository does not exist or may require 'docker login'")
	}
	p.Message("latest", "Pulling from library/"+req.Ref)
	p.Bytes("0123456789ab", "Downloading", 512, 1024)
	if strings.HasPrefix(req.Ref, "broken") {
		return errs.New(errs.Internal, "unexpected EOF")
	}
	p.Message("", "Status: Downloaded newer image for "+req.Ref)
	return nil
}

func (f *fakeImages) Load(_ context.Context, r io.Reader, only []ocispec.Platform, quiet bool, p engine.Progress) error {
	// Report before reading, which must not lose the rest of the body.
	p.Bytes("layer", "Loading layer", 1, 2)
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if string(data) == "garbage" {
		return errs.New(errs.InvalidArgument, "archive/tar: invalid tar header")
	}
	f.mu.Lock()
	f.loaded = data
	f.mu.Unlock()
	f.call("load quiet=%v platforms=%d", quiet, len(only))
	p.Stream("Loaded image: busybox:latest\n")
	return nil
}

func (f *fakeImages) Save(_ context.Context, names []string, only []ocispec.Platform, w io.Writer) error {
	if names[0] == "missing" {
		return errs.New(errs.NotFound, "No such image: missing")
	}
	if _, err := io.WriteString(w, "tar of "+strings.Join(names, ",")); err != nil {
		return err
	}
	if names[0] == "half" {
		return errs.New(errs.Internal, "read blob: input/output error")
	}
	return nil
}

func (f *fakeImages) Push(_ context.Context, ref string, auth registry.AuthConfig, platform *ocispec.Platform, p engine.Progress) error {
	f.call("push %s as %q", ref, auth.Username)
	p.Message("", "The push refers to repository ["+ref+"]")
	return nil
}

func (f *fakeImages) Tag(_ context.Context, name, target string) error {
	f.call("tag %s %s", name, target)
	return nil
}

func (f *fakeImages) List(_ context.Context, all bool, filters engine.Filters) ([]image.Summary, error) {
	f.mu.Lock()
	f.filter = filters
	f.mu.Unlock()
	return []image.Summary{
		{ID: "sha256:" + strings.Repeat("ab", 32), RepoTags: []string{"busybox:latest"}, RepoDigests: []string{"busybox@sha256:" + strings.Repeat("cd", 32)},
			Size: 9007199254740993, Created: 1767225600, Containers: 2, SharedSize: -1, Descriptor: &ocispec.Descriptor{Size: 1}, Manifests: []image.ManifestSummary{{ID: "m"}}},
		{ID: "sha256:" + strings.Repeat("ef", 32), Size: 1, Created: 1767225600, SharedSize: -1},
	}, nil
}

func (f *fakeImages) Inspect(_ context.Context, name string) (image.InspectResponse, error) {
	if name == "missing" {
		return image.InspectResponse{}, errs.New(errs.NotFound, "No such image: missing")
	}
	return image.InspectResponse{
		ID: "sha256:" + strings.Repeat("ab", 32), RepoTags: []string{name}, Os: "linux", Architecture: "amd64", Size: 4242,
		Created: "2026-01-01T00:00:00Z", RootFS: image.RootFS{Type: "layers", Layers: []string{"sha256:" + strings.Repeat("12", 32)}},
		Config:     &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}}},
		Descriptor: &ocispec.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 3},
	}, nil
}

func (f *fakeImages) History(context.Context, string) ([]image.HistoryResponseItem, error) {
	return []image.HistoryResponseItem{{ID: "<missing>", CreatedBy: "/bin/sh", Size: 7}}, nil
}

func (f *fakeImages) Remove(_ context.Context, name string, opts engine.ImageRemove) ([]image.DeleteResponse, error) {
	f.call("remove %s force=%v noprune=%v", name, opts.Force, opts.NoPrune)
	return []image.DeleteResponse{{Untagged: name}}, nil
}

func (f *fakeImages) Prune(context.Context, engine.Filters) (image.PruneReport, error) {
	return image.PruneReport{SpaceReclaimed: 7}, nil
}

type fakeNetworks struct{}

func (fakeNetworks) List(context.Context, engine.Filters) ([]network.Summary, error) { return nil, nil }
func (fakeNetworks) Prune(context.Context, engine.Filters) (network.PruneReport, error) {
	return network.PruneReport{}, nil
}
func (fakeNetworks) Inspect(_ context.Context, id string) (network.Inspect, error) {
	if id != "bridge" {
		return network.Inspect{}, errs.New(errs.NotFound, "network %s not found", id)
	}
	return network.Inspect{Network: network.Network{Name: "bridge", ID: "net1", Driver: "bridge", Scope: "local"},
		Containers: map[string]network.EndpointResource{}, Status: &network.Status{}}, nil
}

type fakeVolumes struct {
	mu     sync.Mutex
	pruned engine.Filters
}

func (*fakeVolumes) Create(_ context.Context, req volume.CreateRequest) (volume.Volume, error) {
	return volume.Volume{Name: req.Name, Driver: "local", Labels: req.Labels}, nil
}

func (*fakeVolumes) List(context.Context, engine.Filters) (volume.ListResponse, error) {
	return volume.ListResponse{}, nil
}

func (*fakeVolumes) Inspect(_ context.Context, name string) (volume.Volume, error) {
	return volume.Volume{}, errs.New(errs.NotFound, "get %s: no such volume", name)
}

func (*fakeVolumes) Remove(_ context.Context, name string, force bool) error {
	return errs.New(errs.Conflict, "remove %s: volume is in use - [abc]", name)
}

func (f *fakeVolumes) Prune(_ context.Context, filters engine.Filters) (volume.PruneReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pruned = filters
	return volume.PruneReport{VolumesDeleted: []string{"v"}, SpaceReclaimed: 1}, nil
}

// fakeEvents sends its messages and, without an end in the past, stays open.
type fakeEvents struct{ messages []events.Message }

func (f *fakeEvents) Subscribe(ctx context.Context, since, until time.Time, filters engine.Filters) (<-chan events.Message, error) {
	out := make(chan events.Message)
	go func() {
		defer close(out)
		for _, m := range f.messages {
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
		}
		if until.IsZero() {
			<-ctx.Done()
		}
	}()
	return out, nil
}

type fakeSystem struct{ fail error }

func (f *fakeSystem) Info(context.Context) (system.Info, error) {
	return system.Info{
		ID: "fake", Containers: 1, OSType: "linux", Architecture: "x86_64", Name: "host", ServerVersion: "test", Driver: "overlayfs",
		Runtimes:         map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "gantry-runtime"}, Status: map[string]string{"s": "t"}}},
		ContainerdCommit: system.Commit{ID: "c1"}, FirewallBackend: &system.FirewallInfo{Driver: "nftables"}, RegistryConfig: &registry.ServiceConfig{},
		NRI: &system.NRIInfo{}, IndexServerAddress: "https://index.docker.io/v1/", Warnings: []string{"a warning"},
	}, f.fail
}

func (f *fakeSystem) Version(context.Context) (system.VersionResponse, error) {
	return system.VersionResponse{Version: "test", Os: "linux", Arch: "amd64", Components: []system.ComponentVersion{
		{Name: "Engine", Version: "test", Details: map[string]string{"ApiVersion": "", "MinAPIVersion": "", "Os": "linux"}},
	}}, f.fail
}

func (f *fakeSystem) DiskUsage(context.Context) (system.DiskUsage, error) {
	return system.DiskUsage{
		ImageUsage:     &image.DiskUsage{TotalCount: 1, TotalSize: 10, Items: []image.Summary{{ID: "sha256:ab", Size: 10}}},
		ContainerUsage: &container.DiskUsage{TotalCount: 1, Items: []container.Summary{{ID: "c1"}}},
		VolumeUsage:    &volume.DiskUsage{},
	}, nil
}

func (f *fakeSystem) Auth(_ context.Context, cfg registry.AuthConfig) (registry.AuthResponse, error) {
	if cfg.Password != "right" {
		return registry.AuthResponse{}, errs.New(errs.Unauthorized, "unauthorized: incorrect username or password")
	}
	return registry.AuthResponse{Status: "Login Succeeded"}, nil
}

func (f *fakeImages) Import(_ context.Context, req engine.ImageImport, r io.Reader) (string, error) {
	data, err := io.ReadAll(r)
	f.call("import %s %s %q %q", req.Ref, req.Message, req.Changes, data)
	if req.Ref == "bad" {
		return "", errs.New(errs.InvalidArgument, "the archive is empty")
	}
	return "sha256:imported", err
}
