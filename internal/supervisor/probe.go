package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/oci/specjson"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// prober starts the probes of one run. A probe that is well is started again by the
// same small process, at little cost; after a failure all is done anew, so that no
// probe fails only because of what has changed since.
type prober struct {
	mu       sync.Mutex // one probe at a time
	process  []byte     // what again starts
	user     string
	pid      int
	again    *oci.Repeater // nil: make one
	hopeless bool          // processes like this one cannot be repeated
}

// probe runs a process in a container to its end. It is an exec without streams,
// attached clients and events, for what is run again and again. The process leads
// a session of its own, hence a process group, which a timeout kills whole.
func (c *container) probe(ctx context.Context, r *run, p *wire.Probe) (*wire.Probed, error) {
	if p == nil {
		return nil, errs.New(errs.InvalidArgument, "probe of container %s: description missing", c.id)
	}
	b := &r.prober
	b.mu.Lock()
	defer b.mu.Unlock()
	proc, out, err := c.startProbe(ctx, r, p)
	if err != nil {
		c.endProber(b)
		return nil, err
	}
	defer out.Close() //nolint:errcheck // read only
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
	res := collect(out, exited, p.MaxOutput, &timedOut)
	if res.Code == 0 && !res.TimedOut {
		return res, nil
	}
	if b.again != nil {
		err = b.again.Failure()
	}
	c.endProber(b)
	return res, err
}

// startProbe starts the process; the prober is locked.
func (c *container) startProbe(ctx context.Context, r *run, p *wire.Probe) (*oci.Process, *os.File, error) {
	b := &r.prober
	if b.again != nil && bytes.Equal(b.process, p.Process) && b.user == p.User.Name {
		if proc, out, err := b.again.Start(); err == nil {
			return proc, out, nil
		}
	}
	c.endProber(b)
	process, err := specjson.DecodeProcess(p.Process)
	if err != nil {
		return nil, nil, errs.New(errs.InvalidArgument, "decode probe of container %s: %w", c.id, err)
	}
	o := oci.ExecOptions{Process: process, User: &oci.NamedUser{User: p.User.Name, Groups: p.User.Groups}}
	if b.hopeless {
		return probeOnce(ctx, r, o)
	}
	again, small, err := r.rt.Repeat(ctx, o)
	if errs.Is(err, errs.Unsupported) {
		b.hopeless = true
		return probeOnce(ctx, r, o)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := c.srv.reaper.add(small.Pid, small.PidFD, func(status) { again.Close() }); err != nil {
		again.Close() // which ends it, too
		return nil, nil, err
	}
	b.again, b.pid, b.process, b.user = again, small.Pid, p.Process, p.User.Name
	return again.Start()
}

// probeOnce starts a process as an exec does.
func probeOnce(ctx context.Context, r *run, o oci.ExecOptions) (*oci.Process, *os.File, error) {
	out, theirs, err := pipe(true)
	if err != nil {
		return nil, nil, err
	}
	o.IO = oci.IO{Stdout: theirs, Stderr: theirs}
	proc, err := r.rt.Exec(ctx, o)
	closeAll(theirs)
	if err != nil {
		closeAll(out)
		return nil, nil, err
	}
	return proc, out, nil
}

// endProber ends the small process; the prober is locked.
func (c *container) endProber(b *prober) {
	if b.again != nil {
		c.srv.reaper.kill(b.pid)
		b.again = nil
	}
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
