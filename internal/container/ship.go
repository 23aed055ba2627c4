package container

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-run/gantry/internal/logship"
)

// shipGrace is how long the removal of a container waits for the rest of its log to
// be sent, if the server takes it.
const shipGrace = 10 * time.Second

// shipping is the sending of one run's log.
type shipping struct {
	done    chan struct{}
	stalled chan struct{} // see logship.Job
	cancel  context.CancelFunc
}

// shipLog sends the log of a run to the server that the container's log driver
// names, and what is left of earlier runs before it. exited is closed at the end
// of the run; nil: it has ended. It is started once per run.
func (s *Service) shipLog(c *ctr, exited <-chan struct{}) {
	r := c.view()
	if !logship.Known(r.Host.LogConfig.Type) {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	sh := &shipping{done: make(chan struct{}), stalled: make(chan struct{}, 1), cancel: cancel}
	c.mu.Lock()
	before := c.shipped
	c.shipped = sh
	c.mu.Unlock()
	s.tasks.Go(func() {
		defer close(sh.done)
		defer cancel()
		if before != nil {
			select {
			case <-before.done:
			case <-ctx.Done():
				before.cancel()
				<-before.done
				return
			}
		}
		if err := s.ship(ctx, &r, exited, sh.stalled); err != nil && !errors.Is(err, context.Canceled) {
			s.Log.Error("send log of container", "container", r.ID, "driver", r.Host.LogConfig.Type, "error", err)
		}
	})
}

// endShipping lets the rest of an ended container's log be sent, as long as there
// is a server for it, and ends the sending: its files are about to go.
func (c *ctr) endShipping() {
	c.mu.Lock()
	sh := c.shipped
	c.mu.Unlock()
	if sh == nil {
		return
	}
	t := time.NewTimer(shipGrace)
	defer t.Stop()
	select {
	case <-sh.done:
	case <-sh.stalled:
	case <-t.C:
	}
	sh.cancel()
	<-sh.done
}

func (s *Service) ship(ctx context.Context, r *record, exited <-chan struct{}, stalled chan struct{}) error {
	sink, err := logship.Open(r.Host.LogConfig.Type, logship.Source{
		ContainerID: r.ID, ContainerName: r.Name, ContainerImageID: r.ImageID, ImageTitle: r.Config.Image,
		Args: append([]string{r.Path}, r.Args...), Created: r.Created, Attrs: logAttrs(r), Options: r.Host.LogConfig.Config,
	})
	if err != nil {
		return err
	}
	return logship.Job{
		Path: s.logFile(r), Position: s.store.file(r.ID, "log-position.json"), Done: exited, Sink: sink, Stalled: stalled, Log: s.Log,
	}.Ship(ctx)
}
