package httpapi

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
)

// events streams events as they happen, each flushed at once.
func (a *api) events(w *reply, r *request) error {
	since, until, filters, err := r.eventOptions()
	if err != nil {
		return err
	}
	stream, err := a.backend.Events.Subscribe(r.Context(), since, until, filters)
	if err != nil {
		return err
	}
	contentType := eventContentType(r)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	w.flush() // clients take the header as the sign that nothing will be missed
	out := &flushWriter{w: w}
	for {
		select {
		case message, open := <-stream:
			if !open {
				return nil
			}
			if err := sendEvent(out, message, r.version, contentType); err != nil {
				return err
			}
		case <-r.Context().Done():
			return nil
		}
	}
}

func (r *request) eventOptions() (since, until time.Time, filters engine.Filters, err error) {
	if since, err = r.timestamp("since"); err != nil {
		return since, until, nil, errs.New(errs.InvalidArgument, "invalid value for 'since': %w", err)
	}
	if until, err = r.timestamp("until"); err != nil {
		return since, until, nil, errs.New(errs.InvalidArgument, "invalid value for 'until': %w", err)
	}
	if !until.IsZero() && until.Before(since) {
		return since, until, nil, errs.New(errs.InvalidArgument, "`since` time (%s) cannot be after `until` time (%s)", r.query.Get("since"), r.query.Get("until"))
	}
	filters, err = r.filters()
	return since, until, filters, err
}

// eventContentType is the stream format that the client accepts by name, or
// the version's default.
func eventContentType(r *request) string {
	for _, accepted := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accepted, ",") {
			mediaType, _, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			switch mediaType {
			case types.MediaTypeJSONLines, types.MediaTypeNDJSON, types.MediaTypeJSONSequence:
				return mediaType
			}
		}
	}
	if r.version.before(52) {
		return types.MediaTypeJSON
	}
	return types.MediaTypeJSONLines
}

func sendEvent(out *flushWriter, m events.Message, v version, contentType string) error {
	if v.before(46) && m.Type == events.ImageEventType && m.Action == events.ActionCreate {
		return nil // came with 1.46
	}
	line, err := marshal(m)
	if err == nil && v.before(52) {
		line, err = mergeFields(line, olderEventFields(m), "")
	}
	if err != nil {
		return err
	}
	if contentType == types.MediaTypeJSONSequence {
		line = append([]byte{0x1e}, line...) // RFC 7464: a record starts with RS and ends with LF
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// olderEventFields are the members of the very first event format, which
// versions before 1.52 still sent for containers and images.
func olderEventFields(m events.Message) fields {
	switch m.Type {
	case events.ContainerEventType:
		return fields{"id": m.Actor.ID, "status": m.Action, "from": m.Actor.Attributes["image"]}
	case events.ImageEventType:
		return fields{"id": m.Actor.ID, "status": m.Action}
	}
	return fields{}
}
