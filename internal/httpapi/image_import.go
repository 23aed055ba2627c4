package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
)

// target is the name that an image gets, from the parameters repo and tag.
func (r *request) target() string {
	repo, tag := r.query.Get("repo"), r.query.Get("tag")
	if repo != "" && tag != "" {
		return repo + ":" + tag
	}
	return repo
}

// commit makes an image of a container. The body, a configuration, is optional.
func (a *api) commit(w *reply, r *request) error {
	req := engine.ContainerCommit{
		Ref: r.target(), Author: r.query.Get("author"), Comment: r.query.Get("comment"), Changes: r.query["changes"],
		NoPause: !r.flagOr("pause", true),
	}
	if r.ContentLength != 0 {
		var config *container.Config
		if err := r.decodeJSON(&config); err != nil {
			return err
		}
		req.Config = config
	}
	id, err := a.backend.Containers.Commit(r.Context(), r.query.Get("container"), req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, container.CommitResponse{ID: id})
}

// imageImport makes an image of an archive, which is the body or at an address.
func (a *api) imageImport(w *reply, r *request) error {
	source := r.query.Get("fromSrc")
	if source == "" {
		return errs.New(errs.InvalidArgument, "invalid request: neither fromImage nor fromSrc is given")
	}
	req := engine.ImageImport{Ref: r.target(), Message: r.query.Get("message"), Changes: r.query["changes"]}
	if req.Message == "" {
		req.Message = "Imported from " + source
	}
	platform, err := r.platform("platform")
	if err != nil {
		return err
	}
	req.Platform = platform
	out := &progress{w: w}
	body := io.Reader(r.Body)
	if source != "-" {
		fetched, err := fetch(r.Context(), source, out)
		if err != nil {
			return err
		}
		defer fetched.Close()
		body = fetched
	}
	id, err := a.backend.Images.Import(r.Context(), req, body)
	if err == nil {
		out.Message("", id)
	}
	return out.finish(err)
}

// fetch gets an archive over HTTP.
func fetch(ctx context.Context, source string, p engine.Progress) (io.ReadCloser, error) {
	if !strings.Contains(source, "://") {
		source = "http://" + source
	}
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errs.New(errs.InvalidArgument, "%s is no address that an archive can be fetched from", source)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "fetch %s: %w", source, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(errs.New(errs.InvalidArgument, "Got HTTP status code >= 400: %s", resp.Status), resp.Body.Close())
	}
	p.Message("", "Downloading from "+source)
	return resp.Body, nil
}
