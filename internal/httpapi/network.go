package httpapi

import (
	"net/http"
)

func (a *api) networkList(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	list, err := a.backend.Networks.List(r.Context(), filters)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, orEmpty(list))
}

func (a *api) networkInspect(w *reply, r *request) error {
	network, err := a.backend.Networks.Inspect(r.Context(), r.name)
	if err != nil {
		return err
	}
	if r.version.before(52) {
		network.Status = nil
	}
	return w.json(http.StatusOK, network)
}
