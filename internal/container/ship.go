package container

import (
	"context"
	"errors"

	"github.com/gantry-run/gantry/internal/logship"
)

// shipLog sends the log of a run to the server that the container's log driver
// names, and what is left of earlier runs before it. exited is closed at the end
// of the run; nil: it has ended. It is started once per run.
func (s *Service) shipLog(c *ctr, exited <-chan struct{}) {
	r := c.view()
	if !logship.Known(r.Host.LogConfig.Type) {
		return
	}
	done := make(chan struct{})
	c.mu.Lock()
	before := c.shipped
	c.shipped = done
	c.mu.Unlock()
	s.tasks.Go(func() {
		defer close(done)
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		go func() {
			select {
			case <-c.gone:
				cancel()
			case <-ctx.Done():
			}
		}()
		if before != nil {
			select {
			case <-before:
			case <-ctx.Done():
				return
			}
		}
		if err := s.ship(ctx, &r, exited); err != nil && !errors.Is(err, context.Canceled) {
			s.Log.Error("send log of container", "container", r.ID, "driver", r.Host.LogConfig.Type, "error", err)
		}
	})
}

func (s *Service) ship(ctx context.Context, r *record, exited <-chan struct{}) error {
	sink, err := logship.Open(r.Host.LogConfig.Type, logship.Source{
		ContainerID: r.ID, ContainerName: r.Name, ContainerImageID: r.ImageID, ImageTitle: r.Config.Image,
		Args: append([]string{r.Path}, r.Args...), Created: r.Created, Attrs: logAttrs(r), Options: r.Host.LogConfig.Config,
	})
	if err != nil {
		return err
	}
	return logship.Job{
		Path: s.logFile(r), Position: s.store.file(r.ID, "log-position.json"), Done: exited, Sink: sink, Log: s.Log,
	}.Ship(ctx)
}
