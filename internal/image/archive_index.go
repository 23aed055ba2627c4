package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/compression"
	"github.com/gantry-run/gantry/internal/errs"
)

// Media types of Docker's layers.
const (
	dockerLayer     = images.MediaTypeDockerSchema2Layer
	dockerLayerGzip = images.MediaTypeDockerSchema2LayerGzip
	dockerLayerZstd = images.MediaTypeDockerSchema2LayerZstd
)

// dockerEntry is one image of a Docker archive's manifest.json.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// images finds what an archive holds. An OCI layout goes before Docker's
// manifest.json, which newer archives have too: it keeps the original
// manifests. Names are joined. An empty list of platforms is this machine's.
func (a *archive) images(ctx context.Context, wanted []ocispec.Platform) ([]*arrival, error) {
	var all []*arrival
	if f, ok := a.find(ocispec.ImageIndexFile); ok {
		found, err := a.layoutImages(ctx, f, wanted)
		if err != nil {
			return nil, err
		}
		all = found
	}
	f, ok := a.find("manifest.json")
	switch {
	case ok:
		found, err := a.dockerImages(ctx, f, all)
		if err != nil {
			return nil, err
		}
		all = found
	case len(all) == 0:
		return nil, errs.New(errs.InvalidArgument, "invalid archive: does not contain a manifest.json")
	}
	if len(all) == 0 {
		return nil, errs.New(errs.InvalidArgument, "invalid archive: no image for this platform")
	}
	return all, nil
}

// layoutImages reads an OCI layout's index.json.
func (a *archive) layoutImages(ctx context.Context, f archiveFile, wanted []ocispec.Platform) ([]*arrival, error) {
	data, err := a.document(ctx, f, maxManifest)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	// Manifests of one name, or of none, may be one image for several platforms.
	groups := map[string][]ocispec.Descriptor{}
	var order []string
	for _, d := range index.Manifests {
		name := annotatedName(d)
		if _, ok := groups[name]; !ok {
			order = append(order, name)
		}
		groups[name] = append(groups[name], d)
	}
	var all []*arrival
	for _, name := range order {
		for _, d := range suited(a.present(groups[name]), wanted) {
			found, err := a.layoutImage(ctx, d, name, wanted, 0)
			if err != nil {
				return nil, err
			}
			all = mergeArrivals(all, found...)
		}
	}
	return all, nil
}

// annotatedName is the image's name that an archive's index gives, "" if none.
func annotatedName(d ocispec.Descriptor) string {
	name := d.Annotations[images.AnnotationImageName]
	if name == "" {
		// The specification means a tag only; tools write whole names too.
		if name = d.Annotations[ocispec.AnnotationRefName]; !strings.ContainsAny(name, ":/") {
			return ""
		}
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// present drops manifests that the archive lacks, as those of other platforms.
func (a *archive) present(all []ocispec.Descriptor) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(all), func(d ocispec.Descriptor) bool {
		_, ok := a.blob(d.Digest)
		return !ok
	})
}

// suited chooses by platform. Manifests that tell none are taken as they are;
// if no platform is asked for and none is this machine's, the first is taken.
func suited(all []ocispec.Descriptor, wanted []ocispec.Platform) []ocispec.Descriptor {
	match := platforms.MatchComparer(platforms.Default())
	if len(wanted) > 0 {
		match = platforms.Any(wanted...)
	}
	var out []ocispec.Descriptor
	var best *ocispec.Descriptor
	for _, d := range all {
		switch {
		case d.Platform == nil:
			out = append(out, d)
		case !match.Match(*d.Platform):
		case len(wanted) > 0:
			out = append(out, d)
		case best == nil || match.Less(*d.Platform, *best.Platform):
			best = &d
		}
	}
	if best != nil {
		same := platforms.OnlyStrict(*best.Platform)
		for _, d := range all {
			if d.Platform != nil && same.Match(*d.Platform) {
				out = append(out, d)
			}
		}
	}
	if len(out) == 0 && len(wanted) == 0 && len(all) > 0 {
		out = all[:1]
	}
	return out
}

// layoutImage reads a manifest, or those of an index, at most two levels deep.
func (a *archive) layoutImage(ctx context.Context, d ocispec.Descriptor, name string, wanted []ocispec.Platform, depth int) ([]*arrival, error) {
	f, ok := a.blob(d.Digest)
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "invalid archive: manifest %s is missing", d.Digest)
	}
	data, err := a.document(ctx, f, maxManifest)
	if err != nil {
		return nil, err
	}
	if images.IsIndexType(d.MediaType) && depth < 2 {
		index, err := parseIndex(data)
		if err != nil {
			return nil, err
		}
		var all []*arrival
		for _, m := range suited(a.present(index.Manifests), wanted) {
			found, err := a.layoutImage(ctx, m, name, wanted, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		return all, nil
	}
	if !images.IsManifestType(d.MediaType) {
		return nil, errs.New(errs.InvalidArgument, "invalid archive: unsupported media type %q", d.MediaType)
	}
	m, err := parseManifest(data, d.MediaType)
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: int64(len(data))}
	arrived, err := a.arrive(ctx, desc, m, data, func(l ocispec.Descriptor) (archiveFile, bool) { return a.blob(l.Digest) })
	if err != nil {
		return nil, err
	}
	return []*arrival{arrived}, addName(arrived, name)
}

// arrive makes an arrival of a manifest whose blobs are files of the archive.
func (a *archive) arrive(ctx context.Context, desc ocispec.Descriptor, m ocispec.Manifest, data []byte, file func(ocispec.Descriptor) (archiveFile, bool)) (*arrival, error) {
	cf, ok := file(m.Config)
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "invalid archive: image config %s is missing", m.Config.Digest)
	}
	config, err := a.document(ctx, cf, maxConfig)
	if err != nil {
		return nil, err
	}
	b, err := parseBody(desc, m, config)
	if err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		lf, ok := file(l)
		if !ok {
			held, err := a.op.hold(ctx, l.Digest) // an archive may leave out what the receiver has
			if err != nil {
				return nil, err
			}
			if !held {
				return nil, errs.New(errs.InvalidArgument, "invalid archive: layer %s is missing", l.Digest)
			}
			continue
		}
		if err := a.keep(ctx, lf); err != nil {
			return nil, err
		}
	}
	return &arrival{body: b, manifestJSON: data, configJSON: config}, nil
}

func addName(a *arrival, name string) error {
	if name == "" {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return errs.New(errs.InvalidArgument, "invalid archive: %w", err)
	}
	named = reference.TagNameOnly(named)
	if _, ok := named.(reference.Digested); ok {
		named = withoutTag(named)
	}
	if !slices.ContainsFunc(a.names, func(n naming) bool { return n.name.String() == named.String() }) {
		a.names = append(a.names, naming{named, a.manifest})
	}
	return nil
}

// mergeArrivals joins images that are the same.
func mergeArrivals(all []*arrival, more ...*arrival) []*arrival {
	for _, m := range more {
		i := slices.IndexFunc(all, func(a *arrival) bool { return a.id == m.id })
		if i < 0 {
			all = append(all, m)
			continue
		}
		for _, n := range m.names {
			if !slices.ContainsFunc(all[i].names, func(o naming) bool { return o.name.String() == n.name.String() }) {
				all[i].names = append(all[i].names, naming{n.name, all[i].manifest})
			}
		}
	}
	return all
}

// dockerImages reads manifest.json. Images that known has only gain names.
func (a *archive) dockerImages(ctx context.Context, f archiveFile, known []*arrival) ([]*arrival, error) {
	data, err := a.document(ctx, f, maxManifest)
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid archive: decode manifest.json: %w", err)
	}
	fromLayout := len(known) > 0
	for _, e := range entries {
		config, ok := a.find(e.Config)
		if !ok {
			return nil, errs.New(errs.InvalidArgument, "invalid archive: image config %q is missing", e.Config)
		}
		i := slices.IndexFunc(known, func(k *arrival) bool { return k.id == config.desc.Digest })
		if i < 0 {
			if fromLayout {
				continue // a platform that was not chosen
			}
			arrived, err := a.dockerImage(ctx, e, config)
			if err != nil {
				return nil, err
			}
			known = append(known, arrived)
			i = len(known) - 1
		}
		for _, t := range e.RepoTags {
			if err := addName(known[i], t); err != nil {
				return nil, err
			}
		}
	}
	return known, nil
}

// dockerImage makes the manifest that a Docker archive lacks.
func (a *archive) dockerImage(ctx context.Context, e dockerEntry, config archiveFile) (*arrival, error) {
	if len(e.Layers) > maxLayers {
		return nil, errs.New(errs.InvalidArgument, "max depth exceeded: %d layers", len(e.Layers))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest,
		Config: ocispec.Descriptor{MediaType: images.MediaTypeDockerSchema2Config, Digest: config.desc.Digest, Size: config.desc.Size},
		Layers: []ocispec.Descriptor{},
	}
	files := map[digest.Digest]archiveFile{config.desc.Digest: config}
	for _, name := range e.Layers {
		f, ok := a.find(name)
		if !ok {
			return nil, errs.New(errs.InvalidArgument, "invalid archive: layer %q is missing", name)
		}
		mediaType, err := compressedType(f.head)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "invalid archive: layer %q: %w", name, err)
		}
		files[f.desc.Digest] = f
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: mediaType, Digest: f.desc.Digest, Size: f.desc.Size})
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return a.arrive(ctx, describe(m.MediaType, data), m, data, func(d ocispec.Descriptor) (archiveFile, bool) {
		f, ok := files[d.Digest]
		return f, ok
	})
}

// compressedType is the media type of a layer by its first bytes.
func compressedType(head []byte) (string, error) {
	switch compression.Detect(head) {
	case compression.Gzip:
		return dockerLayerGzip, nil
	case compression.Zstd:
		return dockerLayerZstd, nil
	case compression.Plain:
		return dockerLayer, nil
	}
	return "", errors.New("layers may be compressed with gzip or zstd only")
}
