package httpapi

import (
	"net/http"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/volume"
)

func (a *api) volumeList(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return errs.New(errs.KindOf(err), "error reading volume filters: %w", err)
	}
	list, err := a.backend.Volumes.List(r.Context(), filters)
	if err != nil {
		return err
	}
	list.Volumes = orEmpty(list.Volumes)
	return w.json(http.StatusOK, list)
}

func (a *api) volumeCreate(w *reply, r *request) error {
	var req volume.CreateRequest
	if err := r.decodeJSON(&req); err != nil {
		return err
	}
	if req.ClusterVolumeSpec != nil && !r.version.before(42) {
		return notManager(a, w, r)
	}
	created, err := a.backend.Volumes.Create(r.Context(), req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, created)
}

func (a *api) volumeInspect(w *reply, r *request) error {
	found, err := a.backend.Volumes.Inspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, found)
}

func (a *api) volumeRemove(w *reply, r *request) error {
	if err := a.backend.Volumes.Remove(r.Context(), r.name, r.flag("force")); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) volumePrune(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	if r.version.before(42) {
		filters["all"] = []string{"true"} // named volumes were pruned, too
	}
	report, err := a.backend.Volumes.Prune(r.Context(), filters)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
