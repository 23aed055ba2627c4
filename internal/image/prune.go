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
		gone, freed, err := s.pruneImage(ctx, e, onlyDangling)
		if err != nil {
			return report, err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		report.SpaceReclaimed += uint64(freed)
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

// pruneImage removes an image unless a container uses it or, meanwhile, it got
// a name.
func (s *Service) pruneImage(ctx context.Context, e *entry, onlyDangling bool) ([]imagetypes.DeleteResponse, int64, error) {
	if len(s.users(e.id)) > 0 {
		return nil, 0, nil
	}
	s.records.Lock()
	defer s.records.Unlock()
	now := s.index.Load().byID[e.id]
	if now == nil || onlyDangling && len(now.refs) > 0 {
		return nil, 0, nil
	}
	r := &removal{s: s, e: now, given: e.id.String(), untag: now.refs, whole: true}
	gone, err := r.apply(ctx)
	return gone, r.freed, err
}
