package httpapi

import (
	"net/http"

	"github.com/moby/moby/api/types/checkpoint"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// errExperimental is what endpoints say that the daemon is not set to serve. The
// text is Docker's.
var errExperimental = errs.New(errs.Unsupported, "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.")

func (a *api) checkpointCreate(w *reply, r *request) error {
	var req checkpoint.CreateRequest
	if err := r.decodeJSON(&req); err != nil {
		return err
	}
	to := engine.Checkpoint{Name: req.CheckpointID, Dir: req.CheckpointDir}
	if err := a.backend.Containers.Checkpoint(r.Context(), r.name, to, !req.Exit); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (a *api) checkpointList(w *reply, r *request) error {
	list, err := a.backend.Containers.Checkpoints(r.Context(), r.name, r.query.Get("dir"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, orEmpty(list))
}

func (a *api) checkpointRemove(w *reply, r *request) error {
	c := engine.Checkpoint{Name: r.part, Dir: r.query.Get("dir")}
	if err := a.backend.Containers.RemoveCheckpoint(r.Context(), r.name, c); err != nil {
		return err
	}
	return w.noContent()
}

// containerRestore is a start from a checkpoint.
func (a *api) containerRestore(w *reply, r *request) error {
	if !a.opts.Experimental {
		return errs.New(errs.InvalidArgument, "checkpoint is only supported in experimental mode")
	}
	from := engine.Checkpoint{Name: r.query.Get("checkpoint"), Dir: r.query.Get("checkpoint-dir")}
	if err := a.backend.Containers.Restore(r.Context(), r.name, from); err != nil {
		return err
	}
	return w.noContent()
}
