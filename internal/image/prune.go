package image

import (
	"context"
	"strconv"

	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"

	"github.com/gantry-run/gantry/internal/engine"
)

// Prune removes images without names, or with dangling=false all that no
// container uses, and what interrupted pulls have kept.
func (s *Service) Prune(ctx context.Context, filters engine.Filters) (imagetypes.PruneReport, error) {
	ctx = scoped(ctx)
	report := imagetypes.PruneReport{ImagesDeleted: []imagetypes.DeleteResponse{}}
	if err := knownFilters(filters, "dangling", "label", "label!", "until"); err != nil {
		return report, err
	}
	dangling, given, err := boolFilter(filters, "dangling")
	if err != nil {
		return report, err
	}
	onlyDangling := dangling || !given
	before, _, err := timeFilters(s.index.Load(), engine.Filters{"until": filters["until"]})
	if err != nil {
		return report, err
	}
	for _, e := range s.index.Load().list() {
		switch {
		case onlyDangling && len(e.refs) > 0,
			!before.IsZero() && !e.created().Before(before),
			!matchLabels(e.config.Config.Labels, filters):
			continue
		}
		r := &removal{s: s, e: e, users: s.users(e.id), given: e.id.String()}
		if len(r.users) > 0 {
			continue
		}
		r.untag, r.whole = e.refs, true
		gone, err := r.apply(ctx)
		if err != nil {
			return report, err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		report.SpaceReclaimed += uint64(r.freed)
	}
	if err := s.dropResumable(ctx); err != nil {
		return report, err
	}
	if err := s.collect(ctx); err != nil {
		return report, err
	}
	if s.opts.Events != nil {
		s.opts.Events.Publish(events.ImageEventType, events.ActionPrune, "",
			map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	}
	return report, nil
}
