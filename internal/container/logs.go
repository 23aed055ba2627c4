package container

import (
	"context"
	"io"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/logstream"
)

// Logs writes a container's log to the writer that open gives; following, it
// ends with the container's run.
func (s *Service) Logs(ctx context.Context, id string, o engine.ContainerLogs, open func(tty bool) io.Writer) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	if !o.Stdout && !o.Stderr {
		return errs.New(errs.InvalidArgument, "Bad parameters: you must choose at least one stream")
	}
	r := c.view()
	path := s.logFile(&r)
	if path == "" {
		return errs.New(errs.Unsupported, "configured logging driver does not support reading")
	}
	opts := logstream.Options{Since: o.Since, Until: o.Until, Tail: o.Tail, Follow: o.Follow}
	if o.Follow {
		if opts.Done = c.ended(); opts.Done == nil {
			opts.Follow = false // it does not run: there is an end already
		}
	}
	f := logstream.Format{Stdout: o.Stdout, Stderr: o.Stderr, Timestamps: o.Timestamps, Details: o.Details, Raw: r.Config.Tty}
	return logstream.Read(ctx, path, opts, f.Writer(open(r.Config.Tty)))
}

// ended gives the channel that the end of the current run closes, nil without one.
func (c *ctr) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exited
}
