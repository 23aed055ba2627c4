package container

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// openRootfs gives a view of a stopped container's root file system: a mount
// that is attached nowhere, so nobody else sees it and nothing is left when the
// daemon dies. Names below it must be resolved with RESOLVE_IN_ROOT.
func (s *Service) openRootfs(ctx context.Context, id string) (*mount.Detached, error) {
	steps, err := s.Images.RootfsMounts(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(steps) != 1 {
		return nil, errs.New(errs.Unsupported, "view root file system of container %s: %d mounts instead of one", id, len(steps))
	}
	m := steps[0]
	if m.Type == "bind" {
		return mount.Clone(unix.AT_FDCWD, m.Source, false)
	}
	o := mount.ParseOptions(m.Options)
	d, err := mount.New(m.Type, m.Source, nil, o.Data, 0)
	if err != nil {
		return nil, fmt.Errorf("view root file system of container %s: %w", id, err)
	}
	return d, nil
}
