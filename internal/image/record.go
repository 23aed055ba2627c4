package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// naming is a name that an image gets.
type naming struct {
	name   reference.Named // with a tag or a digest
	target ocispec.Descriptor
}

// arrival is an image whose layers are in place, with the encoded documents
// that describe it.
type arrival struct {
	*body
	manifestJSON, configJSON []byte
	index                    *ocispec.Descriptor // what the name points at if not the manifest
	indexJSON                []byte
	names                    []naming
	source                   map[string]string // distribution source labels
}

// admit stores an image's documents and names it, in this order: a crash in
// between leaves only garbage. It tells whether a name changed.
func (s *Service) admit(ctx context.Context, op *operation, a *arrival) (changed bool, err error) {
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: a.id, Size: int64(len(a.configJSON))}
	if err := s.putBlob(ctx, op, config, a.configJSON, s.configLabels(a.body)); err != nil {
		return false, err
	}
	labels := manifestLabels(a.body)
	maps.Copy(labels, a.source)
	if err := s.putBlob(ctx, op, a.manifest, a.manifestJSON, labels); err != nil {
		return false, err
	}
	if a.index != nil {
		if err := s.putBlob(ctx, op, *a.index, a.indexJSON, a.source); err != nil {
			return false, err
		}
	}
	return s.name(ctx, a.body, a.names...)
}

// name gives an image names, in one transaction with its anchor.
func (s *Service) name(ctx context.Context, b *body, names ...naming) (changed bool, err error) {
	s.records.Lock()
	defer s.records.Unlock()
	return s.nameLocked(ctx, b, names...)
}

// nameLocked is name for callers that hold s.records.
func (s *Service) nameLocked(ctx context.Context, b *body, names ...naming) (changed bool, err error) {
	before := s.index.Load()
	if before.byID[b.id] == nil {
		changed = true
	}
	for _, n := range names {
		old, had := before.byName[n.name.String()]
		changed = changed || !had || old.image != b.id || old.target.Digest != n.target.Digest
	}
	if !changed {
		return false, nil
	}
	err = s.update(ctx, func(ctx context.Context) error {
		if err := s.putAnchor(ctx, b, len(names) > 0); err != nil {
			return err
		}
		for _, n := range names {
			labels := map[string]string{labelImage: b.id.String(), labelManifest: b.manifest.Digest.String()}
			if err := s.putRecord(ctx, images.Image{Name: n.name.String(), Target: plain(n.target), Labels: labels}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("record image %s: %w", b.id, err)
	}
	return true, s.refresh(ctx)
}

// putAnchor makes the anchor record of an image. One that exists keeps its
// manifest.
func (s *Service) putAnchor(ctx context.Context, b *body, tagged bool) error {
	old, err := s.Images.Get(ctx, anchorName(b.id))
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	labels := old.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	if tagged {
		labels[labelTagged] = time.Now().UTC().Format(time.RFC3339Nano)
	}
	target := plain(b.manifest)
	if err == nil {
		target = old.Target
	}
	return s.putRecord(ctx, images.Image{Name: anchorName(b.id), Target: target, Labels: labels})
}

// putRecord creates a record or replaces it.
func (s *Service) putRecord(ctx context.Context, r images.Image) error {
	_, err := s.Images.Create(ctx, r)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.Images.Update(ctx, r)
	}
	return err
}

// plain keeps what a record's target needs.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// drop deletes records in one transaction; missing ones do not matter. Callers
// hold s.records.
func (s *Service) drop(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := s.update(ctx, func(ctx context.Context) error {
		var failed error
		for _, n := range slices.Compact(names) {
			if err := s.Images.Delete(ctx, n); err != nil && !errdefs.IsNotFound(err) {
				failed = errors.Join(failed, err)
			}
		}
		return failed
	})
	if err != nil {
		return fmt.Errorf("remove image records: %w", err)
	}
	return s.refresh(ctx)
}
