package image

import (
	"context"
	"maps"
	"slices"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-run/gantry/internal/engine"
)

// notCalculated marks sizes and counts that a list leaves out, as in Docker.
const notCalculated = -1

// List gives the images, the newest first. An image without names has empty
// RepoTags and RepoDigests; all has no effect, since there are no intermediate
// images.
func (s *Service) List(_ context.Context, _ bool, filters engine.Filters) ([]imagetypes.Summary, error) {
	x := s.index.Load()
	match, err := compileFilters(x, filters)
	if err != nil {
		return nil, err
	}
	out := []imagetypes.Summary{}
	for _, e := range x.list() {
		if shown := match(e); shown != nil {
			out = append(out, summary(shown))
		}
	}
	return out, nil
}

func summary(e *entry) imagetypes.Summary {
	desc := e.manifest
	created := e.created().Unix()
	if e.created().IsZero() {
		created = 0
	}
	return imagetypes.Summary{
		ID: e.id.String(), RepoTags: e.repoTags(), RepoDigests: e.repoDigests(),
		Created: created, Size: e.size, Labels: maps.Clone(e.config.Config.Labels),
		Containers: notCalculated, SharedSize: notCalculated, Descriptor: &desc,
	}
}

// DiskUsage gives all images with the space that they share and the number of
// their containers, and the totals: each layer counts once.
func (s *Service) DiskUsage(context.Context) (imagetypes.DiskUsage, error) {
	all := s.index.Load().list()
	uses := map[digest.Digest]int{}
	sizes := map[digest.Digest]int64{}
	for _, e := range all {
		for _, l := range e.layers {
			uses[l.chainID]++
			sizes[l.chainID] = l.size
		}
	}
	du := imagetypes.DiskUsage{TotalCount: int64(len(all)), Items: []imagetypes.Summary{}}
	needed := map[digest.Digest]bool{}
	for _, e := range all {
		sum := summary(e)
		sum.SharedSize = 0
		for _, l := range e.layers {
			if uses[l.chainID] > 1 {
				sum.SharedSize += l.size
			}
		}
		users := s.users(e.id)
		if sum.Containers = int64(len(users)); len(users) > 0 {
			du.ActiveCount++
			for _, l := range e.layers {
				needed[l.chainID] = true
			}
		}
		du.Items = append(du.Items, sum)
	}
	for chain, size := range sizes {
		du.TotalSize += size
		if !needed[chain] {
			du.Reclaimable += size
		}
	}
	return du, nil
}

// narrowed is the entry with only the names that keep accepts.
func (e *entry) narrowed(keep func(record) bool) *entry {
	refs := slices.DeleteFunc(slices.Clone(e.refs), func(r record) bool { return !keep(r) })
	return &entry{body: e.body, refs: refs, tagged: e.tagged}
}
