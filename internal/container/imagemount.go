package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/engine"
)

// An image mount is a layer of the container's own on top of another image,
// mounted read-only. It lives and goes with the container.

// imageMountKey names the layer of a container's n-th mount.
func imageMountKey(id string, n int) string { return fmt.Sprintf("%s.mount%d", id, n) }

// rootfsOwner is the container that a layer belongs to.
func rootfsOwner(key string) string {
	id, _, _ := strings.Cut(key, ".")
	return id
}

// resolveImageMounts finds the images of a new container's mounts, by their IDs.
func (s *Service) resolveImageMounts(ctx context.Context, ms []mountPoint) (map[string]engine.Image, error) {
	images := map[string]engine.Image{}
	for i := range ms {
		if ms[i].Type != mount.TypeImage {
			continue
		}
		img, err := s.Images.Resolve(ctx, cmp.Or(ms[i].ImageID, ms[i].Name), nil) // one from another container stays the same
		if err != nil {
			return nil, badReference(err)
		}
		ms[i].ImageID = img.ID
		images[img.ID] = img
	}
	return images, nil
}

// makeImageMounts makes the layers. What an error leaves, removeImageMounts takes away.
func (s *Service) makeImageMounts(ctx context.Context, r *record, images map[string]engine.Image) error {
	for i, m := range r.Mounts {
		if m.Type != mount.TypeImage {
			continue
		}
		if err := s.Images.PrepareRootfs(ctx, imageMountKey(r.ID, i), images[m.ImageID], r.Host.StorageOpt); err != nil {
			return fmt.Errorf("mount image %s: %w", m.Name, err)
		}
	}
	return nil
}

// findImageMounts fills in how the layers are mounted.
func (s *Service) findImageMounts(ctx context.Context, r *record) error {
	r.Mounts = slices.Clone(r.Mounts) // views share the old one
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != mount.TypeImage {
			continue
		}
		steps, err := s.Images.RootfsMounts(ctx, imageMountKey(r.ID, i))
		if err != nil {
			return fmt.Errorf("mount image %s: %w", m.Name, err)
		}
		if len(steps) != 1 {
			return fmt.Errorf("mount image %s: %d mounts instead of one", m.Name, len(steps))
		}
		m.overlay = shortOptions(steps[0].Options)
	}
	return nil
}

// maxMountOption is the longest string that fsconfig(2) takes, in bytes.
const maxMountOption = 255

// shortOptions gives layers one by one where their list is too long for the
// kernel's mount API (which takes single ones since Linux 6.7).
func shortOptions(options []string) []string {
	var out []string
	for _, o := range options {
		list, ok := strings.CutPrefix(o, "lowerdir=")
		if !ok || len(o) <= maxMountOption {
			out = append(out, o)
			continue
		}
		for layer := range strings.SplitSeq(list, ":") {
			out = append(out, "lowerdir+="+layer)
		}
	}
	return out
}

// removeImageMounts is the reverse of makeImageMounts; idempotent.
func (s *Service) removeImageMounts(ctx context.Context, r *record) error {
	var all error
	for i, m := range r.Mounts {
		if m.Type == mount.TypeImage {
			all = errors.Join(all, s.Images.RemoveRootfs(ctx, imageMountKey(r.ID, i)))
		}
	}
	return all
}

// mountsImage tells whether a container has an image mounted.
func (r *record) mountsImage(id string) bool {
	return slices.ContainsFunc(r.Mounts, func(m mountPoint) bool { return m.Type == mount.TypeImage && m.ImageID == id })
}
