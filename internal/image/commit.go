package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/klauspost/compress/gzip"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	packer "github.com/gantry-run/gantry/internal/archive"
	"github.com/gantry-run/gantry/internal/compression"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Commit makes an image of a container's writable layer and what it stands on.
func (s *Service) Commit(ctx context.Context, req engine.ImageCommit) (string, error) {
	name, err := optionalTarget(req.Ref)
	if err != nil {
		return "", err
	}
	config := req.Config
	if err := applyChanges(&config, req.Changes); err != nil {
		return "", err
	}
	ctx = scoped(ctx)
	w, err := s.writable(ctx, req.Key)
	if err != nil {
		return "", err
	}
	op, err := s.begin(ctx, loading)
	if err != nil {
		return "", err
	}
	defer op.abandon()
	d := &draft{config: dockerspec.DockerOCIImage{Image: ocispec.Image{Platform: hostPlatform()}}}
	if w.base.Manifest != "" {
		if err := d.startFrom(ctx, s, w.base.Manifest); err != nil {
			return "", err
		}
	}
	now := time.Now().UTC()
	d.config.Created, d.config.Author, d.config.Config = &now, req.Author, config
	history := ocispec.History{Created: &now, CreatedBy: req.CreatedBy, Author: req.Author, Comment: req.Comment}
	l, err := s.writeLayer(ctx, op, d.layerType(), func(out io.Writer) (bool, error) { return s.rootfs.diff(ctx, req.Key, w, req.Skip, out) })
	if err != nil {
		return "", fmt.Errorf("commit rootfs %s: %w", req.Key, err)
	}
	d.add(l, history)
	return s.publishDraft(ctx, op, d, name, events.ActionCreate)
}

// Import makes an image with one layer of a tar stream, compressed or not.
func (s *Service) Import(ctx context.Context, req engine.ImageImport, r io.Reader) (string, error) {
	name, err := optionalTarget(req.Ref)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	d := &draft{config: dockerspec.DockerOCIImage{Image: ocispec.Image{Platform: hostPlatform(), Created: &now}}}
	if req.Platform != nil {
		d.config.Platform = *req.Platform
	}
	if err := applyChanges(&d.config.Config, req.Changes); err != nil {
		return "", err
	}
	ctx = scoped(ctx)
	op, err := s.begin(ctx, loading)
	if err != nil {
		return "", err
	}
	defer op.abandon()
	plain, err := compression.Decompress(r)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	l, err := s.writeLayer(ctx, op, d.layerType(), func(out io.Writer) (bool, error) {
		n, err := io.Copy(out, plain)
		if err == nil && n == 0 {
			err = errs.New(errs.InvalidArgument, "the archive is empty")
		}
		return true, err
	})
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	d.add(l, ocispec.History{Created: &now, Comment: req.Message})
	return s.publishDraft(ctx, op, d, name, events.ActionImport)
}

func optionalTarget(ref string) (reference.NamedTagged, error) {
	if ref == "" {
		return nil, nil
	}
	return parseTarget(ref)
}

func hostPlatform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// draft is an image in the making.
type draft struct {
	config dockerspec.DockerOCIImage
	layers []ocispec.Descriptor
}

// startFrom takes over an image's layers, history and platform. The image may
// have been removed; the container's lease has kept its documents.
func (d *draft) startFrom(ctx context.Context, s *Service, manifest digest.Digest) error {
	info, err := s.Content.Info(ctx, manifest)
	if err != nil {
		return fmt.Errorf("find image of container: %w", err)
	}
	b, err := s.loadBody(ctx, ocispec.Descriptor{Digest: manifest, Size: info.Size})
	if err != nil {
		return err
	}
	d.config = b.config
	d.config.History, d.config.RootFS.DiffIDs = slices.Clone(b.config.History), slices.Clone(b.config.RootFS.DiffIDs)
	for _, l := range b.layers {
		d.layers = append(d.layers, l.blob)
	}
	return nil
}

// docker tells whether the image is one of Docker's own media types: manifests
// do not mix them.
func (d *draft) docker() bool {
	return len(d.layers) > 0 && !slices.ContainsFunc(d.layers, func(l ocispec.Descriptor) bool {
		return !strings.HasPrefix(l.MediaType, "application/vnd.docker.")
	})
}

func (d *draft) layerType() string {
	if d.docker() {
		return dockerLayerGzip
	}
	return ocispec.MediaTypeImageLayerGzip
}

// add puts a layer on top; nil if nothing has changed.
func (d *draft) add(l *layer, h ocispec.History) {
	h.EmptyLayer = l == nil
	d.config.History = append(d.config.History, h)
	d.config.RootFS.Type = "layers"
	if l != nil {
		d.layers = append(d.layers, l.blob)
		d.config.RootFS.DiffIDs = append(d.config.RootFS.DiffIDs, l.diffID)
	}
}

// arrival encodes the draft.
func (d *draft) arrival() (*arrival, error) {
	a := &arrival{}
	var err error
	if a.configJSON, err = json.Marshal(d.config); err != nil {
		return nil, fmt.Errorf("encode image config: %w", err)
	}
	manifestType, configType := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	if d.docker() {
		manifestType, configType = images.MediaTypeDockerSchema2Manifest, images.MediaTypeDockerSchema2Config
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType,
		Config: describe(configType, a.configJSON), Layers: d.layers,
	}
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	if a.manifestJSON, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("encode image manifest: %w", err)
	}
	a.body, err = parseBody(describe(manifestType, a.manifestJSON), m, a.configJSON)
	return a, err
}

// publishDraft unpacks what is not unpacked yet, records the image and tells.
func (s *Service) publishDraft(ctx context.Context, op *operation, d *draft, name reference.NamedTagged, action events.Action) (string, error) {
	a, err := d.arrival()
	if err != nil {
		return "", err
	}
	if err := (&assembly{s: s, op: op, layers: a.layers}).run(ctx); err != nil {
		return "", err
	}
	s.measure(ctx, a.body)
	if name != nil {
		a.names = []naming{{name, a.manifest}}
	}
	if _, err := s.admit(ctx, op, a); err != nil {
		return "", err
	}
	if err := op.finish(ctx); err != nil {
		return "", err
	}
	id, labels := a.id.String(), a.config.Config.Labels
	s.publish(action, id, id, labels)
	if name != nil {
		s.publish(events.ActionTag, id, reference.FamiliarString(name), labels)
	}
	return id, nil
}

// writeLayer stores a layer's tar stream, compressed. write tells whether there
// was anything; if not, the layer is nil.
func (s *Service) writeLayer(ctx context.Context, op *operation, mediaType string, write func(io.Writer) (bool, error)) (_ *layer, err error) {
	ref := s.unique("layer")
	w, err := content.OpenWriter(op.leased(ctx), s.Content, content.WithRef(ref))
	if err != nil {
		return nil, fmt.Errorf("store layer: %w", err)
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			err = errors.Join(err, s.abort(ctx, ref))
		}
	}()
	blob, plain := digest.Canonical.Digester(), digest.Canonical.Digester()
	counted := &countingWriter{w: io.MultiWriter(w, blob.Hash())}
	z := gzip.NewWriter(counted)
	found, err := write(io.MultiWriter(z, plain.Hash()))
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, s.abort(ctx, ref)
	}
	l := &layer{diffID: plain.Digest(), blob: ocispec.Descriptor{MediaType: mediaType, Digest: blob.Digest(), Size: counted.n}}
	err = w.Commit(op.leased(ctx), l.blob.Size, l.blob.Digest)
	if errdefs.IsAlreadyExists(err) {
		_, err = op.hold(ctx, l.blob.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("store layer: %w", err)
	}
	return l, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// diff writes what a writable layer changes as an OCI layer. skip are paths of
// the engine's own. It tells whether there is anything. The container may run
// meanwhile.
func (r *rootfsStore) diff(ctx context.Context, key string, w writable, skip map[string]bool, out io.Writer) (bool, error) {
	top, err := openDir(filepath.Join(r.root, key, "fs"))
	if err != nil {
		return false, err
	}
	defer fd.Close(top)
	l := packer.Layer{Root: mount.RootAt(top), Leave: skip}
	if r.store.Driver != driverOverlay && len(w.lower) > 0 {
		lower, err := openDir(w.lower[0])
		if err != nil {
			return false, err
		}
		defer fd.Close(lower)
		below := mount.RootAt(lower)
		l.Below = &below
	}
	return l.Pack(ctx, out)
}

// usage gives the bytes on the disk of what a container has written. It may run
// meanwhile.
func (r *rootfsStore) usage(ctx context.Context, key string) (int64, error) {
	top, err := openDir(filepath.Join(r.root, key, "fs"))
	if err != nil {
		return 0, err
	}
	defer fd.Close(top)
	return packer.Usage(ctx, mount.RootAt(top))
}

func openDir(path string) (int, error) {
	h, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return h, nil
}
