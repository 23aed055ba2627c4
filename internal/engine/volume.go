package engine

import (
	"context"
	volumetypes "github.com/moby/moby/api/types/volume"
)

// Volumes is the volume noun.
type Volumes interface {
	Create(ctx context.Context, req volumetypes.CreateRequest) (volumetypes.Volume, error)
	List(ctx context.Context, filters Filters) (volumetypes.ListResponse, error)
	Inspect(ctx context.Context, name string) (volumetypes.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, filters Filters) (volumetypes.PruneReport, error)
}

// VolumeMounts is what containers need of volumes.
type VolumeMounts interface {
	// Ensure creates the volume unless it exists, and returns its host path.
	// name "" makes an anonymous volume with a generated name.
	Ensure(ctx context.Context, name, driver string, labels, opts map[string]string) (VolumeRef, error)
	// CopyUp fills a fresh volume with what the image has at path. rootfd is a
	// directory handle of the container's root file system.
	CopyUp(ctx context.Context, rootfd int, path, volumePath string) error
	// RemoveAnonymous removes a volume that was made for a container; a missing one is no error.
	RemoveAnonymous(ctx context.Context, name string) error
}

// VolumeUse tells volumes when containers run with them. Only volumes with
// driver options of their own (tmpfs, nfs, bind, …) are mounted and unmounted by
// it; for all others it costs nothing. holder is a container ID.
type VolumeUse interface {
	// Mount makes the volume's content appear at its path, which it returns,
	// until every holder has called Unmount. Idempotent for one holder.
	Mount(ctx context.Context, name, holder string) (path string, err error)
	// Unmount gives up what Mount got; idempotent, a missing volume is no error.
	Unmount(ctx context.Context, name, holder string) error
	// Restore tells at daemon start which containers live with which volumes
	// (name → holders). What else an earlier daemon left mounted is unmounted.
	Restore(ctx context.Context, live map[string][]string) error
}

// VolumeRef names a volume and where it is on the host.
type VolumeRef struct {
	Name, Driver, Path string
	// Fresh: the volume is empty and has not been mounted yet, so the image's
	// content at the mount point is copied into it, as Docker does.
	Fresh bool
}
