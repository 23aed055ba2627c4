package client

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// DiskUsageOptions tells whether the objects are listed, too.
type DiskUsageOptions struct {
	Verbose bool
}

// Usage is what the objects of one kind take. Active are those in use,
// Reclaimable the bytes of the others.
type Usage[T any] struct {
	ActiveCount, TotalCount, Reclaimable, TotalSize int64
	Items                                           []T
}

// DiskUsageResult is what the daemon takes of the disk.
type DiskUsageResult struct {
	Containers Usage[container.Summary]
	Images     Usage[image.Summary]
	Volumes    Usage[volume.Volume]
	BuildCache Usage[build.CacheRecord]
}

// DiskUsage tells what containers, images, volumes and the build cache take.
func (c *Client) DiskUsage(ctx context.Context, o DiskUsageOptions) (DiskUsageResult, error) {
	v, _ := c.apiVersion(ctx) // says why that is no error here
	q := params{"type": {
		string(system.ContainerObject), string(system.ImageObject), string(system.VolumeObject), string(system.BuildCacheObject),
	}}
	q.flag("verbose", o.Verbose)
	r := request{method: http.MethodGet, path: "/system/df", query: q}
	if v.before(version{1, 52}) {
		old, err := call[oldUsage](ctx, c, r)
		return old.sum(), err
	}
	du, err := call[system.DiskUsage](ctx, c, r)
	var out DiskUsageResult
	if u := du.ContainerUsage; u != nil {
		out.Containers = Usage[container.Summary]{u.ActiveCount, u.TotalCount, u.Reclaimable, u.TotalSize, u.Items}
	}
	if u := du.ImageUsage; u != nil {
		out.Images = Usage[image.Summary]{u.ActiveCount, u.TotalCount, u.Reclaimable, u.TotalSize, u.Items}
	}
	if u := du.VolumeUsage; u != nil {
		out.Volumes = Usage[volume.Volume]{u.ActiveCount, u.TotalCount, u.Reclaimable, u.TotalSize, u.Items}
	}
	if u := du.BuildCacheUsage; u != nil {
		out.BuildCache = Usage[build.CacheRecord]{u.ActiveCount, u.TotalCount, u.Reclaimable, u.TotalSize, u.Items}
	}
	return out, err
}

// oldUsage is the answer before API 1.52: the objects, which the client sums up.
type oldUsage struct {
	LayersSize int64
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

func (o oldUsage) sum() DiskUsageResult {
	return DiskUsageResult{
		Containers: sumContainers(o.Containers), Images: sumImages(o.Images, o.LayersSize),
		Volumes: sumVolumes(o.Volumes), BuildCache: sumCache(o.BuildCache),
	}
}

func sumContainers(items []container.Summary) Usage[container.Summary] {
	u := Usage[container.Summary]{TotalCount: int64(len(items)), Items: items}
	for _, i := range items {
		u.TotalSize += i.SizeRw
		switch i.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			u.ActiveCount++
		default:
			u.Reclaimable += i.SizeRw
		}
	}
	return u
}

// sumImages counts shared layers once; -1 is what the daemon has not counted.
func sumImages(items []image.Summary, layers int64) Usage[image.Summary] {
	u := Usage[image.Summary]{TotalCount: int64(len(items)), TotalSize: layers, Items: items}
	for _, i := range items {
		switch {
		case i.Containers > 0:
			u.ActiveCount++
		case i.Containers == 0 && i.Size != -1 && i.SharedSize != -1:
			u.Reclaimable += i.Size - i.SharedSize
		}
	}
	return u
}

func sumVolumes(items []volume.Volume) Usage[volume.Volume] {
	u := Usage[volume.Volume]{TotalCount: int64(len(items)), Items: items}
	for _, i := range items {
		if i.UsageData == nil {
			continue
		}
		u.TotalSize += max(0, i.UsageData.Size)
		u.Reclaimable += max(0, i.UsageData.Size)
		if i.UsageData.RefCount > 0 {
			u.ActiveCount++
			u.Reclaimable -= i.UsageData.Size
		}
	}
	return u
}

// sumCache leaves out what other records have, too.
func sumCache(items []build.CacheRecord) Usage[build.CacheRecord] {
	u := Usage[build.CacheRecord]{TotalCount: int64(len(items)), Items: items}
	for _, i := range items {
		if i.InUse {
			u.ActiveCount++
		}
		if i.Shared {
			continue
		}
		u.TotalSize += i.Size
		if !i.InUse {
			u.Reclaimable += i.Size
		}
	}
	return u
}
