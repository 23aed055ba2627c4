package container

import "context"

// copyUp fills fresh volumes with what the image has at their mount points.
func (s *Service) copyUp(ctx context.Context, c *ctr, fresh []int) error {
	if len(fresh) == 0 {
		return nil
	}
	root, err := s.openRootfs(ctx, c.rec.ID)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, i := range fresh {
		m := c.rec.Mounts[i]
		if err := s.Volumes.CopyUp(ctx, root.FD(), m.Destination, m.Source); err != nil {
			return err
		}
	}
	return nil
}
