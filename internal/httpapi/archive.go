package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
)

// pathStatHeader carries a path's description as JSON in base64.
const pathStatHeader = "X-Docker-Container-Path-Stat"

const tarType = "application/x-tar"

// archivePath reads the parameter that says which file or directory is meant.
func (r *request) archivePath() (string, error) {
	if p := r.query.Get("path"); p != "" {
		return p, nil
	}
	return "", errs.New(errs.InvalidArgument, "bad parameter: path cannot be empty")
}

func (w *reply) pathStat(st container.PathStat) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	w.Header().Set(pathStatHeader, base64.StdEncoding.EncodeToString(data))
	return nil
}

func (a *api) archiveStat(w *reply, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	st, err := a.backend.Containers.StatPath(r.Context(), r.name, path)
	if err != nil {
		return err
	}
	if err := w.pathStat(st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *api) archiveGet(w *reply, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	return a.backend.Containers.ReadArchive(r.Context(), r.name, path, func(st container.PathStat) io.Writer {
		_ = w.pathStat(st) // a description always has a JSON form
		w.Header().Set("Content-Type", tarType)
		w.WriteHeader(http.StatusOK)
		return w
	})
}

func (a *api) archivePut(w *reply, r *request) error {
	path, err := r.archivePath()
	if err != nil {
		return err
	}
	opts := engine.WriteArchive{NoOverwriteDirNonDir: r.flag("noOverwriteDirNonDir"), CopyUIDGID: r.flag("copyUIDGID")}
	if err := a.backend.Containers.WriteArchive(r.Context(), r.name, path, opts, r.Body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *api) containerExport(w *reply, r *request) error {
	return a.backend.Containers.Export(r.Context(), r.name, func() io.Writer {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusOK)
		return w
	})
}
