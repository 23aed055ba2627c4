package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// Limits of what is decoded in memory. Containerd's are 4 and 8 MiB too.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
)

// maxLayers is how many lower directories overlayfs takes (OVL_MAX_STACK).
const maxLayers = 500

// body is what an image's manifest and config say. It never changes.
type body struct {
	id       digest.Digest // of the config
	manifest ocispec.Descriptor
	config   dockerspec.DockerOCIImage
	platform ocispec.Platform
	layers   []layer
	size     int64 // bytes of all layers, unpacked
}

// layer is one of an image's, from the bottom up.
type layer struct {
	blob    ocispec.Descriptor
	diffID  digest.Digest // of the uncompressed tar
	chainID digest.Digest // of this layer and all below; names the snapshot
	size    int64         // unpacked bytes; 0 until it is unpacked
}

// chain is the chain ID of the topmost layer, "" without layers.
func (b *body) chain() digest.Digest {
	if len(b.layers) == 0 {
		return ""
	}
	return b.layers[len(b.layers)-1].chainID
}

func (b *body) created() time.Time {
	if b.config.Created == nil {
		return time.Time{}
	}
	return *b.config.Created
}

// parseManifest decodes an image manifest; anything else is refused.
func parseManifest(data []byte, mediaType string) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if len(data) > maxManifest {
		return m, errs.New(errs.InvalidArgument, "manifest of %d bytes is too big", len(data))
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, errs.New(errs.InvalidArgument, "decode manifest: %w", err)
	}
	if m.MediaType != "" && mediaType != "" && m.MediaType != mediaType {
		return m, errs.New(errs.InvalidArgument, "manifest of type %q came as %q", m.MediaType, mediaType)
	}
	if m.Config.MediaType != "" && !images.IsConfigType(m.Config.MediaType) {
		return m, errs.New(errs.InvalidArgument, "unsupported media type %s", m.Config.MediaType)
	}
	if err := validDescriptor(m.Config); err != nil {
		return m, fmt.Errorf("config: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return m, errs.New(errs.InvalidArgument, "max depth exceeded: %d layers", len(m.Layers))
	}
	for i := range m.Layers {
		if err := validDescriptor(m.Layers[i]); err != nil {
			return m, fmt.Errorf("layer %d: %w", i, err)
		}
		m.Layers[i].URLs = nil // content comes from where the image comes from
	}
	return m, nil
}

func validDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return errs.New(errs.InvalidArgument, "invalid digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 {
		return errs.New(errs.InvalidArgument, "invalid size %d", d.Size)
	}
	return nil
}

// parseIndex decodes an image index or manifest list.
func parseIndex(data []byte) (ocispec.Index, error) {
	var idx ocispec.Index
	if len(data) > maxManifest {
		return idx, errs.New(errs.InvalidArgument, "index of %d bytes is too big", len(data))
	}
	if err := json.Unmarshal(data, &idx); err != nil {
		return idx, errs.New(errs.InvalidArgument, "decode image index: %w", err)
	}
	for i, m := range idx.Manifests {
		if err := validDescriptor(m); err != nil {
			return idx, fmt.Errorf("manifest %d of image index: %w", i, err)
		}
	}
	return idx, nil
}

// parseBody joins a manifest and its config and checks that they belong together.
func parseBody(desc ocispec.Descriptor, m ocispec.Manifest, config []byte) (*body, error) {
	b := &body{id: m.Config.Digest, manifest: desc}
	if len(config) > maxConfig {
		return nil, errs.New(errs.InvalidArgument, "image config of %d bytes is too big", len(config))
	}
	if err := json.Unmarshal(config, &b.config); err != nil {
		return nil, errs.New(errs.InvalidArgument, "decode image config: %w", err)
	}
	diffs := b.config.RootFS.DiffIDs
	if t := b.config.RootFS.Type; t != "" && t != "layers" {
		return nil, errs.New(errs.InvalidArgument, "invalid rootfs type %q in image configuration", t)
	}
	if len(diffs) != len(m.Layers) {
		return nil, errs.New(errs.InvalidArgument, "invalid rootfs in image configuration: %d layers, %d diff IDs", len(m.Layers), len(diffs))
	}
	for _, d := range diffs {
		if err := d.Validate(); err != nil {
			return nil, errs.New(errs.InvalidArgument, "invalid diff ID %q in image configuration: %w", d, err)
		}
	}
	chains := identity.ChainIDs(append([]digest.Digest(nil), diffs...))
	for i, blob := range m.Layers {
		b.layers = append(b.layers, layer{blob: blob, diffID: diffs[i], chainID: chains[i]})
	}
	b.platform = platforms.Normalize(b.config.Platform)
	return b, nil
}

// readBlob reads a small blob of at most limit bytes.
func (s *Service) readBlob(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	ra, err := s.Content.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	if ra.Size() > limit {
		return nil, errs.New(errs.InvalidArgument, "blob %s of %d bytes is too big", desc.Digest, ra.Size())
	}
	data := make([]byte, ra.Size())
	if _, err := io.ReadFull(content.NewReader(ra), data); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	return data, nil
}

// loadBody reads an image's manifest and config from the content store.
func (s *Service) loadBody(ctx context.Context, desc ocispec.Descriptor) (*body, error) {
	data, err := s.readBlob(ctx, desc, maxManifest)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(data, "")
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	config, err := s.readBlob(ctx, m.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	return parseBody(desc, m, config)
}

// configCopy gives a config that the caller may change.
func (b *body) configCopy() dockerspec.DockerOCIImageConfig {
	c := b.config.Config
	c.Env, c.Cmd, c.Entrypoint = slices.Clone(c.Env), slices.Clone(c.Cmd), slices.Clone(c.Entrypoint)
	c.OnBuild, c.Shell = slices.Clone(c.OnBuild), slices.Clone(c.Shell)
	c.ExposedPorts, c.Volumes, c.Labels = maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes), maps.Clone(c.Labels)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	return c
}
