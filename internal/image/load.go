package image

import (
	"context"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/compression"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Load takes in a Docker archive or OCI layout, compressed or not. Either all
// of its images are there afterwards or nothing has changed.
func (s *Service) Load(ctx context.Context, r io.Reader, platforms []ocispec.Platform, quiet bool, p engine.Progress) error {
	ctx = scoped(ctx)
	op, err := s.begin(ctx, loading)
	if err != nil {
		return err
	}
	defer op.abandon()
	plain, err := compression.Decompress(r)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, fmt.Errorf("read image archive: %w", err))
	}
	defer plain.Close()
	a, err := s.readArchive(ctx, op, plain)
	if err != nil {
		return err
	}
	arrived, err := a.images(ctx, platforms)
	if err != nil {
		return err
	}
	for _, in := range arrived {
		if err := s.unpackLoaded(ctx, op, in, quiet, p); err != nil {
			return err
		}
	}
	for _, in := range arrived {
		if err := s.admitLoaded(ctx, op, in, p); err != nil {
			return err
		}
	}
	return op.finish(ctx)
}

func (s *Service) unpackLoaded(ctx context.Context, op *operation, in *arrival, quiet bool, p engine.Progress) error {
	work := &assembly{s: s, op: op, layers: in.layers}
	if !quiet {
		lines := make([]*layerProgress, len(in.layers))
		for i, l := range in.layers {
			lines[i] = &layerProgress{p: p, id: shortID(l.diffID)}
		}
		work.extracting = func(i int, n int64) { lines[i].bytes("Loading layer", n, in.layers[i].blob.Size) }
	}
	if err := work.run(ctx); err != nil {
		return err
	}
	s.measure(ctx, in.body)
	return nil
}

// admitLoaded records a loaded image and says so, in Docker's words.
func (s *Service) admitLoaded(ctx context.Context, op *operation, in *arrival, p engine.Progress) error {
	before := s.index.Load()
	for _, n := range in.names {
		if old, had := before.byName[n.name.String()]; had && old.image != in.id {
			p.Stream(fmt.Sprintf("The image %s already exists, renaming the old one with ID %s to empty string\n",
				reference.FamiliarString(n.name), old.image))
		}
	}
	if _, err := s.admit(ctx, op, in); err != nil {
		return err
	}
	for _, n := range in.names {
		p.Stream(fmt.Sprintf("Loaded image: %s\n", reference.FamiliarString(n.name)))
	}
	if len(in.names) == 0 {
		p.Stream(fmt.Sprintf("Loaded image ID: %s\n", in.id))
	}
	s.publish(events.ActionLoad, in.id.String(), in.id.String(), in.config.Config.Labels)
	return nil
}
