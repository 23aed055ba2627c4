package httpapi

import (
	"io"
	"net/http"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/container"
)

func (a *api) containerAttach(w *reply, r *request) error {
	h := &hijacker{w: w, r: r}
	defer h.finish()
	return a.backend.Containers.Attach(r.Context(), r.name, engine.Attach{
		Stream: r.flag("stream"), Logs: r.flag("logs"),
		Stdin: r.flag("stdin"), Stdout: r.flag("stdout"), Stderr: r.flag("stderr"),
		DetachKeys: r.query.Get("detachKeys"),
	}, h.hijack)
}

func (a *api) containerLogs(w *reply, r *request) error {
	opts, err := r.logOptions()
	if err != nil {
		return err
	}
	err = a.backend.Containers.Logs(r.Context(), r.name, opts, func(tty bool) io.Writer {
		contentType := types.MediaTypeRawStream
		if !tty && !r.version.before(42) {
			contentType = types.MediaTypeMultiplexedStream
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(http.StatusOK)
		if !opts.Follow {
			return w // the whole log at full speed; the end of the request flushes
		}
		w.flush()
		return &flushWriter{w: w}
	})
	return err
}

func (r *request) logOptions() (engine.ContainerLogs, error) {
	opts := engine.ContainerLogs{
		Stdout: r.flag("stdout"), Stderr: r.flag("stderr"),
		Follow: r.flag("follow"), Timestamps: r.flag("timestamps"), Details: r.flag("details"),
		Tail: -1,
	}
	if !opts.Stdout && !opts.Stderr {
		return opts, errs.New(errs.InvalidArgument, "Bad parameters: you must choose at least one stream")
	}
	var err error
	if opts.Since, err = r.timestamp("since"); err != nil {
		return opts, errs.New(errs.InvalidArgument, `invalid value for "since": %w`, err)
	}
	if until := r.query.Get("until"); until != "0" {
		if opts.Until, err = r.timestamp("until"); err != nil {
			return opts, errs.New(errs.InvalidArgument, `invalid value for "until": %w`, err)
		}
	}
	// "all", and everything else that is no number, means all lines.
	if lines, set, err := r.number("tail"); set && err == nil && lines >= 0 {
		opts.Tail = lines
	}
	return opts, nil
}

// containerWait sends its header before it waits: clients take it as the sign
// that the wait is registered, and start the container only then.
func (a *api) containerWait(w *reply, r *request) error {
	cond := container.WaitConditionNotRunning
	if s := container.WaitCondition(r.query.Get("condition")); s != "" && !r.version.before(30) {
		switch s {
		case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
			cond = s
		default:
			return errs.New(errs.InvalidArgument, "invalid condition: %q", s)
		}
	}
	done, err := a.backend.Containers.Wait(r.Context(), r.name, cond)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if !r.version.before(30) {
		w.WriteHeader(http.StatusOK)
		w.flush()
	}
	select {
	case answer := <-done:
		body, err := marshal(answer)
		if err != nil {
			return err
		}
		_, err = w.Write(append(body, '\n'))
		return err
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// containerStats sends samples until the client or the container goes away,
// or one of them.
func (a *api) containerStats(w *reply, r *request) error {
	stream := r.flagOr("stream", true)
	oneShot := !r.version.before(41) && r.flag("one-shot")
	sample, err := a.stats(r)
	if err != nil {
		return err
	}
	if !stream {
		// A rate needs two samples; a container that does not run has none.
		if !oneShot && !sample.Read.IsZero() && wait(r, a.pace) {
			if sample, err = a.nextStats(r, sample); err != nil {
				return err
			}
		}
		return w.json(http.StatusOK, sample)
	}
	w.Header().Set("Content-Type", "application/json")
	out := &flushWriter{w: w}
	for {
		line, err := marshal(sample)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
		if !wait(r, untilTick(time.Now(), a.pace)) {
			return nil
		}
		if sample, err = a.nextStats(r, sample); err != nil {
			return err
		}
	}
}

// stats takes one sample in the shape of the request's version.
func (a *api) stats(r *request) (container.StatsResponse, error) {
	sample, err := a.backend.Containers.Stats(r.Context(), r.name)
	if r.version.before(52) {
		sample.OSType = ""
	}
	return sample, err
}

// nextStats takes a sample that refers to the previous one.
func (a *api) nextStats(r *request, previous container.StatsResponse) (container.StatsResponse, error) {
	sample, err := a.stats(r)
	sample.PreRead, sample.PreCPUStats = previous.Read, previous.CPUStats
	return sample, err
}

// untilTick is the time until the clock shows a multiple of pace, but for one that
// is nearer than half of it. So all streams take their samples together, which
// costs less than each at a moment of its own.
func untilTick(now time.Time, pace time.Duration) time.Duration {
	d := pace - now.Sub(now.Truncate(pace))
	if d < pace/2 {
		d += pace
	}
	return d
}

// wait waits for d; false if the client has gone away meanwhile.
func wait(r *request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
