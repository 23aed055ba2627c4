package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// ingestPrefix starts the names of downloads; the digest follows, so that any
// later pull of the blob goes on where an earlier one stopped.
const ingestPrefix = "layer-"

// putBlob stores a small blob for the operation, with labels. The labels follow
// from the content and decide what a collection keeps, so that content of
// another digest is refused even if the blob is there.
func (s *Service) putBlob(ctx context.Context, op *operation, desc ocispec.Descriptor, data []byte, labels map[string]string) error {
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return errs.New(errs.InvalidArgument, "store blob %s: the digest of its content is %s", desc.Digest, got)
	}
	ctx = op.leased(ctx)
	ref := s.unique("blob")
	w, err := content.OpenWriter(ctx, s.Content, content.WithRef(ref), content.WithDescriptor(desc))
	if err == nil {
		err = content.Copy(ctx, w, bytes.NewReader(data), desc.Size, desc.Digest, content.WithLabels(labels))
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			err = errors.Join(err, s.abort(ctx, ref))
		}
	}
	if errdefs.IsAlreadyExists(err) {
		return s.label(ctx, desc.Digest, labels)
	}
	if err != nil {
		return fmt.Errorf("store blob %s: %w", desc.Digest, err)
	}
	// Copy takes a blob that is there for stored, without the labels.
	return s.label(ctx, desc.Digest, labels)
}

// label adds labels to a blob unless it has them.
func (s *Service) label(ctx context.Context, d digest.Digest, labels map[string]string) error {
	info, err := s.Content.Info(ctx, d)
	if err != nil {
		return fmt.Errorf("label blob %s: %w", d, err)
	}
	var paths []string
	for k, v := range labels {
		if info.Labels[k] != v {
			paths = append(paths, "labels."+k)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if _, err := s.Content.Update(ctx, content.Info{Digest: d, Labels: labels}, paths...); err != nil {
		return fmt.Errorf("label blob %s: %w", d, err)
	}
	return nil
}

func (s *Service) abort(ctx context.Context, ref string) error {
	if err := s.Content.Abort(context.WithoutCancel(ctx), ref); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("drop unfinished blob: %w", err)
	}
	return nil
}

// dropIngest drops an unfinished blob that nobody writes.
func (s *Service) dropIngest(ctx context.Context, ref string) error {
	d, ok := strings.CutPrefix(ref, ingestPrefix)
	if !ok {
		return nil // short-lived, its operation takes care of it
	}
	unlock, ok := s.blobs.try(d)
	if !ok {
		return nil
	}
	defer unlock()
	return s.abort(ctx, ref)
}

// linkSnapshots makes the config keep the snapshots of the layers.
func (s *Service) linkSnapshots(ctx context.Context, b *body) error {
	if b.chain() == "" {
		return nil
	}
	return s.label(ctx, b.id, s.configLabels(b))
}

func (s *Service) configLabels(b *body) map[string]string {
	if b.chain() == "" {
		return nil
	}
	return map[string]string{"containerd.io/gc.ref.snapshot." + s.store.Driver: b.chain().String()}
}

// manifestLabels make the manifest keep what it refers to.
func manifestLabels(b *body) map[string]string {
	labels := map[string]string{"containerd.io/gc.ref.content.config": b.id.String()}
	for i, l := range b.layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.blob.Digest.String()
	}
	return labels
}
