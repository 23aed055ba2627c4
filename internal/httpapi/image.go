package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (a *api) imageList(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	if name := r.query.Get("filter"); name != "" && r.version.before(41) && len(filters["reference"]) == 0 {
		filters["reference"] = []string{name}
	}
	manifests := !r.version.before(47) && r.flag("manifests")
	if !r.version.before(54) && r.flag("identity") && !manifests {
		return errs.New(errs.InvalidArgument, "conflicting options: identity requires manifests=1")
	}
	list, err := a.backend.Images.List(r.Context(), r.flag("all"), filters)
	if err != nil {
		return err
	}
	answer := make([]any, 0, len(list))
	for i := range list {
		if !manifests {
			list[i].Manifests = nil
		}
		adaptSummary(&list[i], r.version)
		item, err := olderImageSummary(list[i], r.version)
		if err != nil {
			return err
		}
		answer = append(answer, item)
	}
	return w.json(http.StatusOK, answer)
}

// adaptSummary changes a summary to the shape of version v.
func adaptSummary(s *image.Summary, v version) {
	s.RepoTags, s.RepoDigests = orEmpty(s.RepoTags), orEmpty(s.RepoDigests)
	if v.before(43) && len(s.RepoTags) == 0 && len(s.RepoDigests) == 0 {
		s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
	}
	if v.before(48) {
		s.Descriptor = nil
	}
	if v.before(51) {
		s.Containers = -1
	}
}

func (a *api) imageInspect(w *reply, r *request) error {
	platform, err := r.imagePlatform(49)
	if err != nil {
		return err
	}
	manifests := !r.version.before(48) && r.flag("manifests")
	if manifests && platform != nil {
		return errs.New(errs.InvalidArgument, "conflicting options: manifests and platform options cannot both be set")
	}
	found, err := a.inspectPlatform(r, platform)
	if err != nil {
		return err
	}
	found.RepoTags, found.RepoDigests = orEmpty(found.RepoTags), orEmpty(found.RepoDigests)
	if !manifests {
		found.Manifests = nil
	}
	if r.version.before(53) {
		found.Identity = nil
	}
	if !r.version.before(52) {
		found.GraphDriver = nil // tells older clients the snapshotter's name
		return w.json(http.StatusOK, found)
	}
	v, err := withFields(olderImage(&found, r.version), olderImageFields(&found, r.version))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, v)
}

// imagePlatform decodes the platform parameter, which is ignored by versions
// before 1.since.
func (r *request) imagePlatform(since int) (*ocispec.Platform, error) {
	if r.version.before(since) {
		return nil, nil
	}
	return r.jsonPlatform("platform")
}

// inspectPlatform inspects the image and, if the client names a platform, sees
// to it that this is the one.
func (a *api) inspectPlatform(r *request, want *ocispec.Platform) (image.InspectResponse, error) {
	found, err := a.backend.Images.Inspect(r.Context(), r.name)
	if err != nil || want == nil {
		return found, err
	}
	have := ocispec.Platform{OS: found.Os, Architecture: found.Architecture, Variant: found.Variant, OSVersion: found.OsVersion}
	if !platforms.OnlyStrict(*want).Match(have) {
		return found, errs.New(errs.NotFound, "image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			r.name, platforms.Format(have), platforms.Format(*want))
	}
	return found, nil
}

// olderImage changes an image to what version v had.
func olderImage(i *image.InspectResponse, v version) *image.InspectResponse {
	if i.GraphDriver == nil {
		i.GraphDriver = &storage.DriverData{}
	}
	if v.before(44) && i.Created == "" {
		i.Created = time.Time{}.Format(time.RFC3339Nano)
	}
	if v.before(48) {
		i.Descriptor = nil
	}
	return i
}

// olderImageFields are members that version v always had and that are absent
// when empty, or always, today.
func olderImageFields(i *image.InspectResponse, v version) fields {
	config := fields{
		"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil,
		"OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": "",
	}
	if v.before(50) {
		for _, key := range []string{"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"} {
			config[key] = false
		}
		for _, key := range []string{"Domainname", "Hostname", "Image"} {
			config[key] = ""
		}
	}
	extra := fields{"Parent": "", "Comment": "", "DockerVersion": "", "Author": "", "Config": config}
	if v.before(45) {
		extra["Container"], extra["ContainerConfig"] = "", nil
	}
	if v.before(44) {
		extra["VirtualSize"] = i.Size
	}
	return extra
}

func (a *api) imageHistory(w *reply, r *request) error {
	platform, err := r.imagePlatform(48)
	if err != nil {
		return err
	}
	if platform != nil {
		if _, err := a.inspectPlatform(r, platform); err != nil {
			return err
		}
	}
	history, err := a.backend.Images.History(r.Context(), r.name)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, orEmpty(history))
}

func (a *api) imageTag(w *reply, r *request) error {
	target, err := tagReference(r.query.Get("repo"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	if reference.FamiliarName(target) == "sha256" {
		return errs.New(errs.InvalidArgument, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	if err := a.backend.Images.Tag(r.Context(), r.name, reference.FamiliarString(target)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// tagReference joins a repository and a tag ("" is "latest").
func tagReference(repo, tag string) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	if _, hasDigest := named.(reference.Digested); hasDigest {
		return nil, errs.New(errs.InvalidArgument, "cannot import digest reference")
	}
	if tag != "" {
		tagged, err := reference.WithTag(named, tag)
		return tagged, errs.Wrap(errs.InvalidArgument, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "unexpected reference: %q", named)
	}
	return tagged, nil
}

func (a *api) imageRemove(w *reply, r *request) error {
	if strings.TrimSpace(r.name) == "" {
		return errs.New(errs.InvalidArgument, "image name cannot be blank")
	}
	if !r.version.before(50) && r.query.Has("platforms") {
		return errs.New(errs.Unsupported, "cannot remove single platforms of image %s: this is not supported yet", r.name)
	}
	removed, err := a.backend.Images.Remove(r.Context(), r.name, engine.ImageRemove{Force: r.flag("force"), NoPrune: r.flag("noprune")})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, orEmpty(removed))
}

func (a *api) imagePrune(w *reply, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := a.backend.Images.Prune(r.Context(), filters)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
