package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/build"
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
	if !r.version.before(52) {
		return w.json(http.StatusOK, orEmpty(list))
	}
	older := make([]json.RawMessage, len(list))
	for i := range list { // containers are told by inspect only, but the member was there
		if older[i], err = withFields(list[i], fields{"Containers": fields{}}); err != nil {
			return err
		}
	}
	return w.json(http.StatusOK, older)
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

func (a *api) networkPrune(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := a.backend.Networks.Prune(r.Context(), filters)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}

// buildPrune has nothing to remove, which is what those who clear a whole system
// want to hear.
func (a *api) buildPrune(w *reply, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return w.json(http.StatusOK, build.CachePruneReport{})
}
