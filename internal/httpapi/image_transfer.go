package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
)

// imageCreate pulls or imports: Docker does both under this path.
func (a *api) imageCreate(w *reply, r *request) error {
	if r.query.Get("fromImage") == "" {
		return a.imageImport(w, r)
	}
	pull, err := r.pull()
	if err != nil {
		return err
	}
	out := &progress{w: w}
	return out.finish(a.backend.Images.Pull(r.Context(), pull, out))
}

func (r *request) pull() (engine.ImagePull, error) {
	// Old clients' "pull --all-tags" sends a name with a trailing colon.
	name, err := reference.ParseNormalizedNamed(strings.TrimSuffix(r.query.Get("fromImage"), ":"))
	if err != nil {
		return engine.ImagePull{}, errs.Wrap(errs.InvalidArgument, err)
	}
	// The tag may be a digest.
	switch tag := r.query.Get("tag"); {
	case tag == "":
	case digest.Digest(tag).Validate() == nil:
		name, err = reference.WithDigest(reference.TrimNamed(name), digest.Digest(tag))
	default:
		name, err = reference.WithTag(name, tag)
	}
	if err != nil {
		return engine.ImagePull{}, errs.Wrap(errs.InvalidArgument, err)
	}
	platform, err := r.platform("platform")
	if err != nil {
		return engine.ImagePull{}, err
	}
	return engine.ImagePull{
		Ref: reference.FamiliarString(name), Platform: platform, Auth: r.registryAuth(), All: reference.IsNameOnly(name),
	}, nil
}

// registryAuth decodes the client's credentials. What cannot be decoded is no
// credentials: clients send all kinds of empty values, and the registry will
// tell if it wants some.
func (r *request) registryAuth() registry.AuthConfig {
	auth, err := authconfig.Decode(r.Header.Get(registry.AuthHeader))
	if err != nil {
		return registry.AuthConfig{}
	}
	return *auth
}

func (a *api) imagePush(w *reply, r *request) error {
	name, err := reference.ParseNormalizedNamed(r.name)
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	if tag := r.query.Get("tag"); tag != "" { // none: all tags
		if name, err = tagReference(r.name, tag); err != nil {
			return err
		}
	}
	platform, err := r.imagePlatform(46)
	if err != nil {
		return err
	}
	out := &progress{w: w}
	return out.finish(a.backend.Images.Push(r.Context(), reference.FamiliarString(name), r.registryAuth(), platform, out))
}

// imageLoad reads an archive from the body. Errors always come in the stream.
func (a *api) imageLoad(w *reply, r *request) error {
	only, err := r.jsonPlatforms("platform")
	if err != nil {
		return err
	}
	// Progress is reported while the archive is still being read. Without this
	// the server would throw the rest of the body away at the first answer.
	if err := http.NewResponseController(w.ResponseWriter).EnableFullDuplex(); err != nil {
		return fmt.Errorf("load image: %w", err)
	}
	out := &progress{w: w}
	if err := a.backend.Images.Load(r.Context(), r.Body, only, r.flagOr("quiet", true), out); err != nil {
		out.fail(err)
		return err
	}
	if !w.begun {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
	}
	return nil
}

// imageSave sends an archive. An error after its first byte cuts the
// connection: anything else would look like a complete archive.
func (a *api) imageSave(w *reply, r *request) error {
	names := r.query["names"]
	if r.name != "" {
		names = []string{r.name}
	}
	only, err := r.jsonPlatforms("platform")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	err = a.backend.Images.Save(r.Context(), names, only, w)
	if err != nil && w.begun {
		a.log.Error("save images", "names", names, "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
