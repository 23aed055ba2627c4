package image

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	archiveio "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// saved is an image to save with the names that it keeps.
type saved struct {
	e     *entry
	names []string // canonical
}

// Save writes images as one archive that is an OCI layout and a Docker archive
// at once. Every error that the request can have comes before the first byte.
func (s *Service) Save(ctx context.Context, names []string, wanted []ocispec.Platform, w io.Writer) error {
	ctx = scoped(ctx)
	all, err := s.chooseSaved(names, wanted)
	if err != nil {
		return err
	}
	op, err := s.begin(ctx, loading)
	if err != nil {
		return err
	}
	defer op.abandon()
	var opts []archiveio.ExportOpt
	for _, sv := range all {
		held, err := op.hold(ctx, sv.e.manifest.Digest)
		if err != nil {
			return err
		}
		if !held {
			return notFound(sv.e.id.String()) // removed just now
		}
		opts = append(opts, archiveio.WithManifest(plain(sv.e.manifest), sv.names...))
	}
	if err := archiveio.Export(ctx, s.Content, w, opts...); err != nil {
		return fmt.Errorf("save images: %w", err)
	}
	for _, sv := range all {
		s.publish(events.ActionSave, sv.e.id.String(), sv.e.id.String(), sv.e.config.Config.Labels)
	}
	return op.finish(ctx)
}

// chooseSaved resolves what the user named. A repository without a tag stands
// for all of its tags, unless it has none; an ID keeps no names.
func (s *Service) chooseSaved(names []string, wanted []ocispec.Platform) ([]saved, error) {
	if len(names) == 0 {
		return nil, errs.New(errs.InvalidArgument, "no images to save")
	}
	x := s.index.Load()
	var all []saved
	seen := map[digest.Digest]int{}
	add := func(e *entry, names ...string) error {
		if len(wanted) > 0 && !platforms.Any(wanted...).Match(e.platform) {
			return errs.New(errs.NotFound, "image %s does not provide the specified platform (%s)", shortID(e.id), platforms.Format(wanted[0]))
		}
		i, ok := seen[e.id]
		if !ok {
			i = len(all)
			seen[e.id] = i
			all = append(all, saved{e: e})
		}
		for _, n := range names {
			if !slices.Contains(all[i].names, n) {
				all[i].names = append(all[i].names, n)
			}
		}
		return nil
	}
	for _, name := range names {
		repo, tags := x.repository(name)
		for _, r := range tags {
			if err := add(x.byID[r.image], r.name.String()); err != nil {
				return nil, err
			}
		}
		if repo {
			continue
		}
		e, rec, err := x.find(name)
		if err != nil {
			return nil, err
		}
		var keep []string
		if rec != nil && !rec.isDigest() {
			keep = []string{rec.name.String()}
		}
		if err := add(e, keep...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// repository gives all tags of a name that has neither tag nor digest.
func (x *index) repository(name string) (found bool, tags []record) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil || !reference.IsNameOnly(named) {
		return false, nil
	}
	for _, r := range x.byName {
		if r.name.Name() == named.Name() && !r.isDigest() {
			tags = append(tags, r)
		}
	}
	slices.SortFunc(tags, func(a, b record) int { return strings.Compare(a.name.String(), b.name.String()) })
	return len(tags) > 0, tags
}
