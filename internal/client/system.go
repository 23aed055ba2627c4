package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
)

// Info describes the daemon and its machine.
func (c *Client) Info(ctx context.Context) (system.Info, error) {
	return call[system.Info](ctx, c, request{method: http.MethodGet, path: "/info"})
}

// ServerVersion tells which versions the daemon and its parts have.
func (c *Client) ServerVersion(ctx context.Context) (system.VersionResponse, error) {
	return call[system.VersionResponse](ctx, c, request{method: http.MethodGet, path: "/version"})
}

// RegistryLogin has the daemon try credentials at a registry. Unauthorized
// means that they are wrong.
func (c *Client) RegistryLogin(ctx context.Context, a registry.AuthConfig) (registry.AuthResponse, error) {
	a.Auth = "" // name and password again, for files
	return call[registry.AuthResponse](ctx, c, request{method: http.MethodPost, path: "/auth", body: a})
}

// EventsListOptions selects events. Since and Until are times, or durations
// before now; without Until the stream has no end.
type EventsListOptions struct {
	Since, Until string
	Filters      Filters
}

// EventsResult is a stream of events. Err gives the one error that ends it,
// after all messages: io.EOF at Until.
type EventsResult struct {
	Messages <-chan events.Message
	Err      <-chan error
}

// Events follows what happens. It returns when the daemon has begun to tell;
// ctx ends the stream, and must be ended by who stops reading before its end.
func (c *Client) Events(ctx context.Context, o EventsListOptions) EventsResult {
	messages := make(chan events.Message)
	failed := make(chan error, 1)
	body, err := c.openEvents(ctx, o)
	if err != nil {
		failed <- err
		return EventsResult{Messages: messages, Err: failed}
	}
	go func() {
		defer body.Close()
		failed <- relay(ctx, body, messages)
	}()
	return EventsResult{Messages: messages, Err: failed}
}

func (c *Client) openEvents(ctx context.Context, o EventsListOptions) (io.ReadCloser, error) {
	q := params{}
	now := time.Now()
	if err := q.time("since", o.Since, now); err != nil {
		return nil, err
	}
	if err := q.time("until", o.Until, now); err != nil {
		return nil, err
	}
	q.filters(o.Filters)
	accept := []string{types.MediaTypeJSONLines, types.MediaTypeNDJSON + ";q=0.9"}
	return c.stream(ctx, request{method: http.MethodGet, path: "/events", query: q, header: http.Header{"Accept": accept}})
}

func relay(ctx context.Context, body io.Reader, messages chan<- events.Message) error {
	dec := json.NewDecoder(body)
	for {
		var m events.Message
		err := dec.Decode(&m)
		if ctx.Err() != nil {
			return ctx.Err() // what came of closing the body says less
		}
		if err != nil {
			return err
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
