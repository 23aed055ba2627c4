package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/oci/specjson"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// probe runs a process in a container to its end. It is an exec without streams,
// attached clients and events, for what is run again and again. The process leads
// a session of its own, hence a process group, which a timeout kills whole.
func (c *container) probe(ctx context.Context, r *run, p *wire.Probe) (*wire.Probed, error) {
	if p == nil {
		return nil, errs.New(errs.InvalidArgument, "probe of container %s: description missing", c.id)
	}
	process, err := specjson.DecodeProcess(p.Process)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "decode probe of container %s: %w", c.id, err)
	}
	out, theirs, err := pipe(true)
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // read only
	proc, err := r.rt.Exec(ctx, oci.ExecOptions{
		Process: process, IO: oci.IO{Stdout: theirs, Stderr: theirs}, User: &oci.NamedUser{User: p.User.Name, Groups: p.User.Groups},
	})
	closeAll(theirs)
	if err != nil {
		return nil, err
	}
	exited := make(chan status, 1)
	if err := c.srv.reaper.add(proc.Pid, proc.PidFD, func(st status) { exited <- st }); err != nil {
		return nil, err
	}
	var timedOut atomic.Bool
	timer := time.AfterFunc(p.Timeout, func() {
		timedOut.Store(true)
		c.srv.reaper.killGroup(proc.Pid)
	})
	defer timer.Stop()
	return collect(out, exited, p.MaxOutput, &timedOut), nil
}

// collect reads a probe's output and waits for its end. What a process that it has
// left behind goes on writing is not waited for.
func collect(out *os.File, exited <-chan status, limit int, timedOut *atomic.Bool) *wire.Probed {
	res := &wire.Probed{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		res.Output, res.Truncated = head(out, limit)
	}()
	st := <-exited
	res.Code, res.TimedOut = st.code, timedOut.Load()
	t := time.AfterFunc(drainGrace, func() { _ = out.SetReadDeadline(time.Now()) })
	defer t.Stop()
	<-read
	return res
}

// head reads to the end and keeps the first bytes.
func head(r io.Reader, limit int) (text string, truncated bool) {
	kept, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, r)
		truncated = more > 0
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return string(kept), true
	}
	return string(kept), truncated
}
