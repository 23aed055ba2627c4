package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Remove removes a volume with its data. A volume that a container has is
// errs.Conflict, force or not; a missing one errs.NotFound unless force is set.
func (s *Service) Remove(ctx context.Context, name string, force bool) error {
	err := s.remove(ctx, name)
	if force && errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// RemoveAnonymous removes a volume along with its container. One that another
// container has stays, as in Docker.
func (s *Service) RemoveAnonymous(ctx context.Context, name string) error {
	err := s.remove(ctx, name)
	if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Conflict) {
		return nil
	}
	return err
}

func (s *Service) remove(ctx context.Context, name string) error {
	v, err := s.lock(name)
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	ids := s.users(name)
	for holder := range v.holders {
		if !slices.Contains(ids, holder) {
			ids = append(ids, holder)
		}
	}
	if len(ids) > 0 {
		slices.Sort(ids)
		return errs.New(errs.Conflict, "remove %s: volume is in use - [%s]", name, strings.Join(ids, ", "))
	}
	if err := v.unmount(); err != nil {
		return errs.New(errs.Internal, "remove %s: %w", name, err)
	}
	if err := s.removeDir(v); err != nil {
		return errs.New(errs.Internal, "remove %s: error removing volume path '%s': %w", name, v.dir, err)
	}
	s.forget(v)
	s.publish(events.ActionDestroy, v)
	return nil
}

// removeDir renames the volume away and deletes it. If something in it cannot
// be deleted, what is left gets its name back, so that removing can be retried.
func (s *Service) removeDir(v *vol) error {
	away := filepath.Join(s.dir, removedPrefix+v.Name+"-"+randomSuffix())
	if err := os.Rename(v.dir, away); err != nil {
		if os.IsNotExist(err) {
			return nil // someone removed it by hand
		}
		return err
	}
	if err := os.RemoveAll(away); err != nil {
		if back := os.Rename(away, v.dir); back != nil {
			s.log.Error("give a volume that cannot be removed its name back", "volume", v.Name, "path", away, "err", back)
		}
		return err
	}
	return nil
}

func randomSuffix() string {
	var b [(removedSuffix - 1) / 2]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand's contract
	return hex.EncodeToString(b[:])
}

// Prune removes volumes without options that no container has: anonymous ones
// or, with the filter all=true, named ones too. Filters: all, label, label!.
func (s *Service) Prune(ctx context.Context, filters engine.Filters) (volumetypes.PruneReport, error) {
	report := volumetypes.PruneReport{VolumesDeleted: []string{}}
	if !s.pruning.CompareAndSwap(false, true) {
		return report, errs.New(errs.Conflict, "a prune operation is already running")
	}
	defer s.pruning.Store(false)
	all, err := checkPrune(filters)
	if err != nil {
		return report, err
	}
	for _, v := range s.all() {
		if ctx.Err() != nil {
			break // what is done is done, and reported
		}
		if len(v.Options) > 0 || !all && !v.anonymous() || !matchLabels(filters, v.Labels) || len(s.users(v.Name)) > 0 {
			continue
		}
		size, err := v.size(ctx)
		if err != nil {
			s.log.WarnContext(ctx, "determine size of volume", "volume", v.Name, "err", err)
		}
		if err := s.remove(ctx, v.Name); err != nil {
			s.log.WarnContext(ctx, "prune volume", "volume", v.Name, "err", err)
			continue
		}
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
		report.SpaceReclaimed += uint64(size)
	}
	s.events.Publish(events.VolumeEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

func checkPrune(filters engine.Filters) (all bool, err error) {
	if err := checkFilters(filters, "all", "label", "label!"); err != nil {
		return false, err
	}
	switch values := filters["all"]; len(values) {
	case 0:
		return false, nil
	case 1:
		all, err = strconv.ParseBool(values[0])
		if err != nil {
			return false, errs.New(errs.InvalidArgument, "invalid filter 'all': %w", err)
		}
		return all, nil
	default:
		return false, errs.New(errs.InvalidArgument, "invalid filter 'all=%s': only one value is expected", values)
	}
}
