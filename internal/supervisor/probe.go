package supervisor

import (
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

// probe runs a process in a container to its end, as an exec does. The process
// leads a session of its own, hence a process group, which a timeout kills whole.
func (c *container) probe(ctx context.Context, r *run, p *wire.Probe) (*wire.Probed, error) {
	o, err := c.probeOptions(p)
	if err != nil {
		return nil, err
	}
	out, theirs, err := pipe(true)
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // read only
	o.IO, o.OwnIO = oci.IO{Stdout: theirs, Stderr: theirs}, true
	proc, err := r.rt.Exec(ctx, o)
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

func (c *container) probeOptions(p *wire.Probe) (o oci.ExecOptions, err error) {
	if p == nil {
		return o, errs.New(errs.InvalidArgument, "probe of container %s: description missing", c.id)
	}
	if o.Process, err = specjson.DecodeProcess(p.Process); err != nil {
		return o, errs.New(errs.InvalidArgument, "decode probe of container %s: %w", c.id, err)
	}
	o.User = &oci.NamedUser{User: p.User.Name, Groups: p.User.Groups}
	return o, nil
}

// repeaters are the processes that repeat probes of one run. They end when the
// daemon closes their sockets, and with the run.
type repeaters struct {
	mu   sync.Mutex
	pids map[int]struct{}
	over bool // the run is
}

// repeat makes a process that runs a probe whenever it is told to, and gives the
// socket through which that is done.
func (c *container) repeat(ctx context.Context, r *run, p *wire.Probe) (sock int, err error) {
	o, err := c.probeOptions(p)
	if err != nil {
		return -1, err
	}
	small, sock, err := r.rt.Repeat(ctx, o, p.Timeout)
	if err != nil {
		return -1, err
	}
	b := &r.repeaters
	b.mu.Lock()
	defer b.mu.Unlock()
	gone := func(status) {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.pids, small.Pid)
	}
	err = c.srv.reaper.add(small.Pid, small.PidFD, gone)
	if err == nil && b.over {
		err = errs.New(errs.Conflict, "container %s has stopped", c.id)
	}
	if err != nil {
		wire.FDs{sock}.Close() // which ends it, too
		return -1, err
	}
	if b.pids == nil {
		b.pids = map[int]struct{}{}
	}
	b.pids[small.Pid] = struct{}{}
	return sock, nil
}

// endRepeaters ends the processes that repeat probes of a run that is over.
func (c *container) endRepeaters(r *run) {
	b := &r.repeaters
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for pid := range b.pids {
		c.srv.reaper.kill(pid)
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
