package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Resolve finds a local image. It only reads memory.
func (s *Service) Resolve(_ context.Context, ref string, platform *ocispec.Platform) (engine.Image, error) {
	e, rec, err := s.find(ref)
	if err != nil {
		return engine.Image{}, err
	}
	if platform != nil && !platforms.Only(*platform).Match(e.platform) {
		return engine.Image{}, errs.New(errs.NotFound,
			"image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			ref, platforms.Format(e.platform), platforms.Format(*platform))
	}
	manifest, config := e.manifest, e.configCopy()
	img := engine.Image{
		ID: e.id.String(), Config: config.ImageConfig, Health: config.Healthcheck, Shell: config.Shell, Platform: e.config.Platform, ChainID: e.chain().String(), Manifest: &manifest,
	}
	if rec != nil {
		img.Name = familiar([]record{*rec})[0]
	}
	return img, nil
}

// PrepareRootfs makes a writable layer. An image that is not unpacked yet is
// unpacked first. An existing key is errs.Conflict.
func (s *Service) PrepareRootfs(ctx context.Context, key string, img engine.Image, opts map[string]string) error {
	if err := validKey(key); err != nil {
		return err
	}
	size, err := s.rootfs.limits.size(opts)
	if err != nil {
		return err
	}
	b := base{Chain: digest.Digest(img.ChainID)}
	if img.Manifest != nil {
		b.Manifest = img.Manifest.Digest
	}
	ctx = scoped(ctx)
	lower, err := s.rootfs.acquire(ctx, b)
	if errdefs.IsNotFound(err) {
		if err = s.unpackAgain(ctx, img); err == nil {
			lower, err = s.rootfs.acquire(ctx, b)
		}
	}
	if err != nil {
		return fmt.Errorf("prepare rootfs %s: %w", key, err)
	}
	if err := s.rootfs.prepare(key, b, lower, size); err != nil {
		s.rootfs.release(b)
		return err
	}
	s.rootfs.mu.Lock()
	s.rootfs.entries[key] = &writable{base: b, lower: lower}
	s.rootfs.mu.Unlock()
	return nil
}

// RootfsLimits implements engine.Rootfs.
func (s *Service) RootfsLimits() bool { return s.rootfs.limits.fs != nil }

// RootfsMounts gives the mounts of a writable layer.
func (s *Service) RootfsMounts(ctx context.Context, key string) ([]engine.RootfsMount, error) {
	w, err := s.writable(scoped(ctx), key)
	if err != nil {
		return nil, err
	}
	return s.rootfs.mounts(key, w.lower), nil
}

var errDamaged = errors.New("the container's root file system is damaged, the layers below it are not known")

// writable gives a layer with its lower directories, which are looked up once
// for layers of an earlier process.
func (s *Service) writable(ctx context.Context, key string) (writable, error) {
	r := s.rootfs
	r.mu.Lock()
	w := r.entries[key]
	if w == nil {
		r.mu.Unlock()
		return writable{}, errs.New(errs.NotFound, "rootfs %s does not exist", key)
	}
	if w.damaged != nil {
		r.mu.Unlock()
		return writable{}, errs.New(errs.Internal, "%w; what the container wrote is in %s: %w", errDamaged, filepath.Join(r.root, key, "fs"), w.damaged)
	}
	found, h := *w, r.bases[w.base]
	r.mu.Unlock()
	if found.lower != nil || found.base.Chain == "" {
		return found, nil
	}
	lower, err := r.lower(ctx, found.base, h)
	if err != nil {
		return writable{}, fmt.Errorf("find layers of rootfs %s: %w", key, err)
	}
	found.lower = lower
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entries[key] == w {
		r.entries[key] = &found
	}
	return found, nil
}

// RemoveRootfs removes a writable layer. Its space is freed a moment later.
func (s *Service) RemoveRootfs(_ context.Context, key string) error {
	if err := validKey(key); err != nil {
		return err
	}
	return s.rootfs.discard(key)
}

// RootfsKeys lists the writable layers.
func (s *Service) RootfsKeys(context.Context) ([]string, error) {
	s.rootfs.mu.Lock()
	defer s.rootfs.mu.Unlock()
	keys := make([]string, 0, len(s.rootfs.entries))
	for k := range s.rootfs.entries {
		keys = append(keys, k)
	}
	return keys, nil
}

// RootfsUsage walks the writable layer and adds the sizes of the layers below.
func (s *Service) RootfsUsage(ctx context.Context, key string) (rw, total int64, err error) {
	ctx = scoped(ctx)
	w, err := s.writable(ctx, key)
	if err != nil && !errors.Is(err, errDamaged) { // a damaged one has a size, too, without layers
		return 0, 0, err
	}
	if rw, err = s.rootfs.usage(ctx, key); err != nil {
		return 0, 0, fmt.Errorf("measure rootfs %s: %w", key, err)
	}
	total = rw
	if s.store.Driver != driverOverlay {
		return rw, total, nil // the copy holds all layers
	}
	for chain := w.base.Chain; chain != ""; {
		info, err := s.Snapshotter.Stat(ctx, chain.String())
		if err != nil {
			return 0, 0, fmt.Errorf("measure rootfs %s: %w", key, err)
		}
		total += s.layerSize(ctx, chain)
		chain = digest.Digest(info.Parent)
	}
	return rw, total, nil
}

// unpackAgain brings back the snapshots of an image whose content is there.
func (s *Service) unpackAgain(ctx context.Context, img engine.Image) error {
	e := s.index.Load().byID[digest.Digest(img.ID)]
	if e == nil {
		return notFound(img.ID)
	}
	op, err := s.begin(ctx, loading)
	if err != nil {
		return err
	}
	defer op.abandon()
	a := &assembly{s: s, op: op, layers: e.layers}
	if err := a.run(ctx); err != nil {
		return fmt.Errorf("unpack image %s: %w", e.id, err)
	}
	if err := s.linkSnapshots(op.leased(ctx), e.body); err != nil {
		return err
	}
	return op.finish(ctx)
}

// chainExists tells whether a layer is unpacked, and leases it.
func (s *Service) chainExists(ctx context.Context, op *operation, chain digest.Digest) (exists bool, err error) {
	// A transaction is a durable write: it is spent only on layers that exist.
	if _, err := s.Snapshotter.Stat(ctx, chain.String()); errdefs.IsNotFound(err) {
		return false, nil
	}
	err = s.update(ctx, func(ctx context.Context) error {
		exists, err = s.leaseChain(ctx, op, chain)
		return err
	})
	return exists, err
}

func (s *Service) leaseChain(ctx context.Context, op *operation, chain digest.Digest) (bool, error) {
	info, err := s.Snapshotter.Stat(ctx, chain.String())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil || info.Kind != snapshots.KindCommitted {
		return false, err
	}
	res := s.rootfs.resources(base{Chain: chain})[0]
	return true, s.Leases.AddResource(ctx, op.lease, res)
}
