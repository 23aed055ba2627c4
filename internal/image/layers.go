package image

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// labelSize is a layer's snapshot label with its unpacked size in bytes, as
// the tar stream gives it: what Docker calls the layer's size.
const labelSize = "gantry.run/size"

// layerSize gives the unpacked size of a layer, 0 if it is not unpacked.
func (s *Service) layerSize(ctx context.Context, chain digest.Digest) int64 {
	info, err := s.Snapshotter.Stat(ctx, chain.String())
	if err != nil {
		return 0
	}
	if n, err := strconv.ParseInt(info.Labels[labelSize], 10, 64); err == nil {
		return n
	}
	u, err := s.Snapshotter.Usage(ctx, chain.String())
	if err != nil {
		return 0
	}
	return u.Size
}

// layerDirs gives the directories of a chain of layers, topmost first. With
// the copying snapshotter that is one directory with everything.
func (s *store) layerDirs(ctx context.Context, chain digest.Digest) ([]string, error) {
	if s.Driver != driverOverlay {
		dir, err := s.flatDir(ctx, chain)
		return []string{dir}, err
	}
	var dirs []string
	for key := chain.String(); key != ""; {
		info, err := s.Snapshotter.Stat(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("find layer %s: %w", key, err)
		}
		if info.Kind != snapshots.KindCommitted {
			return nil, fmt.Errorf("layer %s is not complete", key)
		}
		dirs = append(dirs, info.Labels[upperLabel])
		key = info.Parent
	}
	return dirs, nil
}

// flatDir finds the directory of a copied layer through a view, which is the
// only way that the snapshotter tells it.
func (s *store) flatDir(ctx context.Context, chain digest.Digest) (_ string, err error) {
	key := "view-" + chain.String()
	mounts, err := s.Snapshotter.View(ctx, key, chain.String())
	if errdefs.IsAlreadyExists(err) {
		mounts, err = s.Snapshotter.Mounts(ctx, key)
	}
	if err != nil {
		return "", fmt.Errorf("find layer %s: %w", chain, err)
	}
	return singleDir(mounts)
}

// singleDir is the directory that a snapshot without an overlay stands for.
func singleDir(mounts []mount.Mount) (string, error) {
	if len(mounts) != 1 || mounts[0].Type != "bind" {
		return "", errors.New("snapshot is not a single directory")
	}
	return mounts[0].Source, nil
}
