package httpapi

import (
	"encoding/binary"
	"net/http"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
)

func (a *api) execCreate(w *reply, r *request) error {
	var req container.ExecCreateRequest
	if err := r.decodeJSON(&req); err != nil {
		return err
	}
	if len(req.Cmd) == 0 {
		return errs.New(errs.InvalidArgument, "No exec command specified")
	}
	if r.version.before(42) {
		req.ConsoleSize = nil
	}
	id, err := a.backend.Execs.Create(r.Context(), r.name, req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, container.ExecCreateResponse{ID: id})
}

// execStart runs an exec. When somebody is attached, errors of the program
// itself (it is missing, say) belong into the stream: clients show the stream
// and then ask for the exec's exit code.
func (a *api) execStart(w *reply, r *request) error {
	var req container.ExecStartRequest
	if err := r.decodeJSON(&req); err != nil {
		return err
	}
	if r.version.before(42) || !req.Tty {
		req.ConsoleSize = nil
	}
	if _, err := a.backend.Execs.Inspect(r.Context(), r.name); err != nil {
		return err
	}
	h := &hijacker{w: w, r: r}
	defer h.finish()
	err := a.backend.Execs.Start(r.Context(), r.name, req, h.hijack)
	switch {
	case err == nil && req.Detach:
		w.WriteHeader(http.StatusOK)
		return nil
	case err == nil, req.Detach, h.conn == nil && errs.Is(err, errs.Conflict):
		return err
	case h.conn == nil:
		if _, hijackErr := h.hijack(req.Tty); hijackErr != nil {
			return err
		}
	}
	// The client may be gone; the error is reported by the return anyway.
	_, _ = h.conn.Write(h.frame(err.Error() + "\r\n"))
	return err
}

// frame makes text a part of the stream's standard output.
func (h *hijacker) frame(text string) []byte {
	if h.raw {
		return []byte(text)
	}
	frame := []byte{byte(stdcopy.Stdout), 0, 0, 0}
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(text)))
	return append(frame, text...)
}

func (a *api) execInspect(w *reply, r *request) error {
	exec, err := a.backend.Execs.Inspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, exec)
}

func (a *api) execResize(w *reply, r *request) error {
	height, width, err := r.terminalSize()
	if err != nil {
		return err
	}
	if err := a.backend.Execs.Resize(r.Context(), r.name, height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
