package httpapi

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/moby/moby/api/types/jsonstream"
)

// progress writes Docker's JSON progress messages, one per line, each flushed
// as it is written. It is safe for concurrent use.
type progress struct {
	mu sync.Mutex
	w  *reply
}

var _ engine.Progress = (*progress)(nil)

// Message reports a status line.
func (p *progress) Message(id, status string) {
	p.send(jsonstream.Message{ID: id, Status: status})
}

// Bytes reports current of total bytes of a layer.
func (p *progress) Bytes(id, status string, current, total int64) {
	p.send(jsonstream.Message{ID: id, Status: status, Progress: &jsonstream.Progress{Current: current, Total: total}})
}

// Stream reports a raw line.
func (p *progress) Stream(text string) { p.send(jsonstream.Message{Stream: text}) }

// Aux reports data for programs, such as the digest of a pushed manifest.
func (p *progress) Aux(v any) error {
	data, err := marshal(v)
	if err != nil {
		return err
	}
	p.send(jsonstream.Message{Aux: &data})
	return nil
}

// fail reports an error inside the stream. The plain "error" member is what
// clients from before errorDetail read.
func (p *progress) fail(err error) {
	p.send(struct {
		Error  string           `json:"error"`
		Detail jsonstream.Error `json:"errorDetail"`
	}{err.Error(), jsonstream.Error{Message: err.Error()}})
}

func (p *progress) send(message any) {
	line, err := json.Marshal(message)
	if err != nil {
		return // strings and numbers only: cannot happen
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.w.begun {
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
	// A client that has gone away ends the request's context; the work that
	// reports here stops because of that, not because of this write.
	if _, err := p.w.Write(append(line, '\r', '\n')); err == nil {
		p.w.flush()
	}
}

// finish ends a request that reports progress: an error before the first
// message is an ordinary one, later it goes into the stream.
func (p *progress) finish(err error) error {
	if err == nil {
		return nil
	}
	p.mu.Lock()
	begun := p.w.begun
	p.mu.Unlock()
	if !begun {
		return err
	}
	p.fail(err)
	return nil
}
