package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/image/helloworld"
)

// builtinName is the one image that works without any registry.
const builtinName = "docker.io/library/hello-world:latest"

// builtinPatience bounds the wait for a registry before the built-in copy is
// used: somebody is trying the product for the first time.
const builtinPatience = 5 * time.Second

func builtin(ref reference.Named) bool { return ref.String() == builtinName }

// useBuiltin installs the built-in hello-world, as no registry gave one.
func (s *Service) useBuiltin(ctx context.Context, ref reference.Named, platform *ocispec.Platform, cause error, p engine.Progress) error {
	wanted := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if platform != nil {
		wanted = platforms.Normalize(*platform)
	}
	program, err := helloworld.Program(wanted.Architecture)
	if err != nil || wanted.OS != "linux" {
		return cause
	}
	s.log.Info("use the built-in hello-world", "err", cause)
	p.Message("latest", "Pulling from library/hello-world")
	why := "No registry answers"
	if !errs.Is(cause, errs.Internal) {
		why = "The registry gives no image" // it answered
	}
	p.Message("", why+", using the copy of hello-world that is built into Gantry")
	a, blob, err := builtinImage(wanted, program)
	if err != nil {
		return err
	}
	op, err := s.begin(ctx, loading)
	if err != nil {
		return err
	}
	defer op.abandon()
	if err := s.putBlob(ctx, op, a.layers[0].blob, blob, nil); err != nil {
		return err
	}
	work := &assembly{s: s, op: op, layers: a.layers}
	if err := work.run(ctx); err != nil {
		return err
	}
	s.measure(ctx, a.body)
	a.names = []naming{{ref, a.manifest}}
	changed, err := s.admit(ctx, op, a)
	if err != nil {
		return err
	}
	if err := op.finish(ctx); err != nil {
		return err
	}
	(&pull{s: s, p: p}).report(ref, a.manifest, a.body, changed)
	return nil
}

// builtinImage makes the image around the program. It is the same everywhere.
func builtinImage(platform ocispec.Platform, program []byte) (*arrival, []byte, error) {
	epoch := time.Unix(0, 0).UTC()
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	header := &tar.Header{Name: "hello", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program)), ModTime: epoch, Format: tar.FormatUSTAR}
	if err := tw.WriteHeader(header); err != nil {
		return nil, nil, fmt.Errorf("make hello-world: %w", err)
	}
	if _, err := tw.Write(program); err != nil {
		return nil, nil, fmt.Errorf("make hello-world: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, nil, fmt.Errorf("make hello-world: %w", err)
	}
	config := ocispec.Image{
		Created: &epoch, Platform: platform,
		Config:  ocispec.ImageConfig{Cmd: []string{"/hello"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, WorkingDir: "/"},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}},
		History: []ocispec.History{{Created: &epoch, CreatedBy: "COPY hello / # built into Gantry"}},
	}
	a := &arrival{}
	var err error
	if a.configJSON, err = json.Marshal(config); err != nil {
		return nil, nil, fmt.Errorf("encode hello-world: %w", err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, a.configJSON),
		Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, layer.Bytes())},
	}
	if a.manifestJSON, err = json.Marshal(m); err != nil {
		return nil, nil, fmt.Errorf("encode hello-world: %w", err)
	}
	a.body, err = parseBody(describe(m.MediaType, a.manifestJSON), m, a.configJSON)
	return a, layer.Bytes(), err
}

// describe makes the descriptor of a document or blob.
func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
