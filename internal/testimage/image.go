package testimage

import (
	"encoding/json"
	"fmt"
	"runtime"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Flavour is the family of media types of a manifest.
type Flavour int

// The two flavours that registries serve.
const (
	OCI    Flavour = iota
	Docker         // manifest version 2, schema 2
)

// Media types of Docker's image manifest, https://distribution.github.io/distribution/spec/manifest-v2-2/.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
)

// Image is an image of one platform, encoded.
type Image struct {
	Layers   []Layer
	Config   []byte // JSON
	Manifest []byte // JSON
	Platform ocispec.Platform
	Flavour  Flavour
}

// Spec is what an image is made from.
type Spec struct {
	Flavour  Flavour
	Platform ocispec.Platform // zero: linux and this machine's architecture
	Config   dockerspec.DockerOCIImageConfig
	Layers   []Layer
}

// New encodes an image.
func New(s Spec) (Image, error) {
	if s.Platform.OS == "" {
		s.Platform = ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	created := epoch
	doc := struct {
		ocispec.Image
		Config dockerspec.DockerOCIImageConfig `json:"config"`
	}{
		Image: ocispec.Image{
			Created: &created, Platform: s.Platform,
			RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
		},
		Config: s.Config,
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType(s.Flavour)}
	for i, l := range s.Layers {
		doc.RootFS.DiffIDs = append(doc.RootFS.DiffIDs, l.DiffID)
		doc.History = append(doc.History, ocispec.History{Created: &created, CreatedBy: fmt.Sprintf("testimage layer %d", i)})
		manifest.Layers = append(manifest.Layers, l.descriptor(s.Flavour))
	}
	config, err := json.Marshal(doc)
	if err != nil {
		return Image{}, fmt.Errorf("encode config: %w", err)
	}
	manifest.Config = ocispec.Descriptor{MediaType: configType(s.Flavour), Digest: digest.FromBytes(config), Size: int64(len(config))}
	data, err := json.Marshal(manifest)
	if err != nil {
		return Image{}, fmt.Errorf("encode manifest: %w", err)
	}
	return Image{Layers: s.Layers, Config: config, Manifest: data, Platform: s.Platform, Flavour: s.Flavour}, nil
}

// ID is the digest of the config: what Docker shows as the image's ID.
func (i Image) ID() string { return digest.FromBytes(i.Config).String() }

// Descriptor points at the image's manifest.
func (i Image) Descriptor() ocispec.Descriptor {
	p := i.Platform
	return ocispec.Descriptor{
		MediaType: manifestType(i.Flavour), Digest: digest.FromBytes(i.Manifest),
		Size: int64(len(i.Manifest)), Platform: &p,
	}
}

// blobs are everything that the manifest refers to, by digest.
func (i Image) blobs() map[digest.Digest][]byte {
	all := map[digest.Digest][]byte{digest.FromBytes(i.Config): i.Config}
	for _, l := range i.Layers {
		all[l.Digest] = l.Blob
	}
	return all
}

// Index encodes a multi-platform index (Docker: manifest list) of the images.
func Index(f Flavour, images ...Image) ([]byte, error) {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: indexType(f)}
	for _, i := range images {
		idx.Manifests = append(idx.Manifests, i.Descriptor())
	}
	data, err := json.Marshal(idx)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	return data, nil
}

func manifestType(f Flavour) string {
	if f == Docker {
		return dockerManifest
	}
	return ocispec.MediaTypeImageManifest
}

func configType(f Flavour) string {
	if f == Docker {
		return dockerConfig
	}
	return ocispec.MediaTypeImageConfig
}

func indexType(f Flavour) string {
	if f == Docker {
		return dockerManifestList
	}
	return ocispec.MediaTypeImageIndex
}
