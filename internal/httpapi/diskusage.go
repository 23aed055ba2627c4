package httpapi

import (
	"net/http"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// olderDiskUsage is the answer of versions before 1.52. Lists that were not
// asked for are absent, empty ones are [].
type olderDiskUsage struct {
	LayersSize int64               `json:"LayersSize,omitempty"`
	Images     []any               `json:"Images,omitzero"`
	Containers []olderSummary      `json:"Containers,omitzero"`
	Volumes    []volume.Volume     `json:"Volumes,omitzero"`
	BuildCache []build.CacheRecord `json:"BuildCache,omitzero"`
}

// plainDiskUsage is olderDiskUsage as versions before 1.52 had it: with all members,
// also those that were not asked for.
type plainDiskUsage struct {
	LayersSize int64
	Images     []any
	Containers []olderSummary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

// systemDiskUsage answers in the shape of the version. From 1.52 on a client
// that does not ask for details gets both shapes, as unversioned clients still
// read the old one.
func (a *api) systemDiskUsage(w *reply, r *request) error {
	wanted, err := r.diskUsageTypes()
	if err != nil {
		return err
	}
	usage, err := a.backend.System.DiskUsage(r.Context())
	if err != nil {
		return err
	}
	keepTypes(&usage, wanted)
	if r.version.before(52) {
		older, err := older(&usage, r.version)
		if err != nil {
			return err
		}
		if wanted == nil || wanted[system.BuildCacheObject] {
			older.BuildCache = orEmpty(older.BuildCache)
		}
		return w.json(http.StatusOK, plainDiskUsage(*older))
	}
	if r.flag("verbose") {
		return w.json(http.StatusOK, usage)
	}
	legacy, err := older(&usage, r.version)
	if err != nil {
		return err
	}
	dropItems(&usage)
	return w.json(http.StatusOK, struct {
		*olderDiskUsage
		*system.DiskUsage
	}{legacy, &usage})
}

// diskUsageTypes are the kinds of object that are asked for; nil for all.
func (r *request) diskUsageTypes() (map[system.DiskUsageObject]bool, error) {
	if r.version.before(42) || !r.query.Has("type") {
		return nil, nil
	}
	wanted := map[system.DiskUsageObject]bool{}
	for _, s := range r.query["type"] {
		switch t := system.DiskUsageObject(s); t {
		case system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject:
			wanted[t] = true
		default:
			return nil, errs.New(errs.InvalidArgument, "unknown object type: %s", s)
		}
	}
	return wanted, nil
}

func keepTypes(usage *system.DiskUsage, wanted map[system.DiskUsageObject]bool) {
	if wanted == nil {
		return
	}
	if !wanted[system.ContainerObject] {
		usage.ContainerUsage = nil
	}
	if !wanted[system.ImageObject] {
		usage.ImageUsage = nil
	}
	if !wanted[system.VolumeObject] {
		usage.VolumeUsage = nil
	}
	if !wanted[system.BuildCacheObject] {
		usage.BuildCacheUsage = nil
	}
}

// dropItems leaves the sums only. The parts are copied: the old shape still
// refers to the full ones.
func dropItems(usage *system.DiskUsage) {
	if u := usage.ContainerUsage; u != nil {
		sums := *u
		sums.Items = nil
		usage.ContainerUsage = &sums
	}
	if u := usage.ImageUsage; u != nil {
		sums := *u
		sums.Items = nil
		usage.ImageUsage = &sums
	}
	if u := usage.VolumeUsage; u != nil {
		sums := *u
		sums.Items = nil
		usage.VolumeUsage = &sums
	}
	if u := usage.BuildCacheUsage; u != nil {
		sums := *u
		sums.Items = nil
		usage.BuildCacheUsage = &sums
	}
}

func older(usage *system.DiskUsage, v version) (*olderDiskUsage, error) {
	out := &olderDiskUsage{}
	if u := usage.ImageUsage; u != nil {
		out.LayersSize, out.Images = u.TotalSize, []any{}
		for _, summary := range u.Items {
			item, err := olderImageSummary(summary, v)
			if err != nil {
				return nil, err
			}
			out.Images = append(out.Images, item)
		}
	}
	if u := usage.ContainerUsage; u != nil {
		out.Containers = olderSummaries(u.Items)
		for i := range out.Containers {
			out.Containers[i].Health = nil
		}
	}
	if u := usage.VolumeUsage; u != nil {
		out.Volumes = orEmpty(u.Items)
	}
	if u := usage.BuildCacheUsage; u != nil {
		out.BuildCache = orEmpty(u.Items)
	}
	return out, nil
}

// olderImageSummary adds the second size that versions before 1.44 had.
func olderImageSummary(s image.Summary, v version) (any, error) {
	if !v.before(44) {
		return s, nil
	}
	return withFields(s, fields{"VirtualSize": s.Size})
}
