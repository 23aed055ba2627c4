package httpapi

import (
	"net/http"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
)

func (a *api) containerList(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	limit, _, err := r.number("limit")
	if err != nil {
		return err
	}
	list, err := a.backend.Containers.List(r.Context(), engine.ContainerList{
		All: r.flag("all"), Limit: max(limit, 0), Size: r.flag("size"), Filters: filters,
	})
	if err != nil {
		return err
	}
	for i := range list {
		if r.version.before(46) {
			list[i].HostConfig.Annotations = nil
		}
		if r.version.before(48) {
			list[i].ImageManifestDescriptor = nil
		}
		if r.version.before(52) {
			list[i].Health = nil
		}
	}
	if r.version.before(52) {
		return w.json(http.StatusOK, olderSummaries(list))
	}
	return w.json(http.StatusOK, orEmpty(list))
}

func (a *api) containerInspect(w *reply, r *request) error {
	found, err := a.backend.Containers.Inspect(r.Context(), r.name, r.flag("size"))
	if err != nil {
		return err
	}
	c := found.InspectResponse
	if c.Config == nil {
		c.Config = &container.Config{}
	}
	if r.version.before(48) {
		c.ImageManifestDescriptor = nil
	}
	if !r.version.before(52) {
		return w.json(http.StatusOK, c)
	}
	v, err := withFields(olderContainer(&c, r.version), olderContainerFields(&c, found.MacAddress))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, v)
}

func (a *api) containerTop(w *reply, r *request) error {
	top, err := a.backend.Containers.Top(r.Context(), r.name, r.query.Get("ps_args"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, top)
}

func (a *api) containerChanges(w *reply, r *request) error {
	changes, err := a.backend.Containers.Changes(r.Context(), r.name)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, changes)
}

func (a *api) containerStart(w *reply, r *request) error {
	// Settings in the body were dropped from the API long ago; "{}" and "null"
	// are still sent by some clients.
	if r.ContentLength > 7 || r.ContentLength == -1 {
		return errs.New(errs.InvalidArgument, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if r.query.Get("checkpoint") != "" {
		return a.containerRestore(w, r)
	}
	if err := a.backend.Containers.Start(r.Context(), r.name); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) containerStop(w *reply, r *request) error {
	signal, timeout, err := r.stopOptions()
	if err != nil {
		return err
	}
	if err := a.backend.Containers.Stop(r.Context(), r.name, signal, timeout); err != nil {
		if errs.Is(err, errs.NotFound) || errs.Is(err, errs.NotModified) {
			return err
		}
		return errs.New(errs.KindOf(err), "cannot stop container: %s: %w", r.name, err)
	}
	return w.noContent()
}

func (a *api) containerRestart(w *reply, r *request) error {
	signal, timeout, err := r.stopOptions()
	if err != nil {
		return err
	}
	if err := a.backend.Containers.Restart(r.Context(), r.name, signal, timeout); err != nil {
		return err
	}
	return w.noContent()
}

func (r *request) stopOptions() (signal string, timeout *int, err error) {
	if !r.version.before(42) {
		signal = r.query.Get("signal")
	}
	seconds, set, err := r.number("t")
	if set && err == nil {
		timeout = &seconds
	}
	return signal, timeout, err
}

func (a *api) containerKill(w *reply, r *request) error {
	if err := a.backend.Containers.Kill(r.Context(), r.name, r.query.Get("signal")); err != nil {
		return errs.New(errs.KindOf(err), "cannot kill container: %s: %w", r.name, err)
	}
	return w.noContent()
}

func (a *api) containerPause(w *reply, r *request) error {
	if err := a.backend.Containers.Pause(r.Context(), r.name); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) containerUnpause(w *reply, r *request) error {
	if err := a.backend.Containers.Unpause(r.Context(), r.name); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) containerRename(w *reply, r *request) error {
	if err := a.backend.Containers.Rename(r.Context(), r.name, r.query.Get("name")); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) containerUpdate(w *reply, r *request) error {
	var update engine.ContainerUpdate
	if err := r.decodeJSON(&update); err != nil {
		return err
	}
	if r.version.before(40) {
		update.PidsLimit = nil
	}
	if r.version.before(55) {
		update.BlkioWeightDevice, update.BlkioDeviceReadBps, update.BlkioDeviceWriteBps = nil, nil, nil
		update.BlkioDeviceReadIOps, update.BlkioDeviceWriteIOps = nil, nil
	}
	if update.PidsLimit != nil && *update.PidsLimit <= 0 {
		update.PidsLimit = new(int64) // 0 and every negative number have always meant "unlimited"
	}
	answer, err := a.backend.Containers.Update(r.Context(), r.name, update)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, answer)
}

func (a *api) containerResize(w *reply, r *request) error {
	height, width, err := r.terminalSize()
	if err != nil {
		return err
	}
	if err := a.backend.Containers.Resize(r.Context(), r.name, height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (r *request) terminalSize() (height, width uint16, err error) {
	if height, err = r.size("h", "height"); err != nil {
		return 0, 0, err
	}
	width, err = r.size("w", "width")
	return height, width, err
}

func (a *api) containerRemove(w *reply, r *request) error {
	if r.name == "" {
		return errs.New(errs.InvalidArgument, "invalid container name or ID: value is empty")
	}
	if r.flag("link") {
		if err := a.backend.Containers.Unlink(r.Context(), r.name); err != nil {
			return err
		}
		return w.noContent()
	}
	if err := a.backend.Containers.Remove(r.Context(), r.name, r.flag("force"), r.flag("v")); err != nil {
		return err
	}
	return w.noContent()
}

func (a *api) containerPrune(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := a.backend.Containers.Prune(r.Context(), filters)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}

// orEmpty makes an absent list an empty one: clients iterate over it.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// shortID is the first 12 digits of an ID.
func shortID(id string) string { return id[:min(len(id), 12)] }

// appendMissing appends those names that are not empty and not there yet.
func appendMissing(list []string, names ...string) []string {
next:
	for _, name := range names {
		if name == "" {
			continue
		}
		for _, have := range list {
			if have == name {
				continue next
			}
		}
		list = append(list, name)
	}
	return list
}
