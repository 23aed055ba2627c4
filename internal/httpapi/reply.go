package httpapi

import (
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/moby/moby/api/types/common"
)

// reply is an http.ResponseWriter that remembers whether the answer has begun:
// from then on no status can tell of an error any more.
type reply struct {
	http.ResponseWriter
	begun    bool
	hijacked bool
	status   int
}

// WriteHeader sends the status line.
func (w *reply) WriteHeader(status int) {
	if !w.begun {
		w.begun, w.status = true, status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends part of the body.
func (w *reply) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun, w.status = true, http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// flush sends what is buffered. Clients that have gone away are noticed by the
// next write, so its error is not interesting.
func (w *reply) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// json answers with v. The whole document is made first, so that a value that
// cannot be encoded still gives a clean error.
func (w *reply) json(status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// noContent answers 204.
func (w *reply) noContent() error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// fail answers with an error document. Statuses that forbid a body get none.
func (w *reply) fail(status int, message string) {
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	// Too late to report: the answer itself could not be sent.
	_ = w.json(status, common.ErrorResponse{Message: message})
}

// flushWriter sends every write at once. It is safe for concurrent use.
type flushWriter struct {
	mu sync.Mutex
	w  *reply
}

var _ io.Writer = (*flushWriter)(nil)

// Write writes and flushes.
func (f *flushWriter) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.w.Write(p)
	if err == nil {
		f.w.flush()
	}
	return n, err
}
