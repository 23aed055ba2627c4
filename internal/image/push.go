package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	registryclient "github.com/gantry-run/gantry/internal/registry"
)

// Push uploads an image under its name, or all tags of a repository if the
// name has none and several exist.
func (s *Service) Push(ctx context.Context, ref string, auth registry.AuthConfig, platform *ocispec.Platform, p engine.Progress) (err error) {
	defer func() { err = refused(err) }()
	ctx = scoped(ctx)
	named, err := parseName(ref)
	if err != nil {
		return err
	}
	if _, ok := named.(reference.Digested); ok {
		return errs.New(errs.InvalidArgument, "cannot push a digest reference")
	}
	var tags []record
	if reference.IsNameOnly(named) {
		_, tags = s.index.Load().repository(ref)
	} else if r, ok := s.index.Load().byName[named.String()]; ok {
		tags = []record{r}
	}
	if len(tags) == 0 {
		return errs.New(errs.NotFound, "An image does not exist locally with the tag: %s", reference.FamiliarName(named))
	}
	p.Message("", fmt.Sprintf("The push refers to repository [%s]", named.Name()))
	for _, t := range tags {
		if err := s.pushTag(ctx, auth, t, platform, p); err != nil {
			return err
		}
	}
	return nil
}

// push uploads one image.
type push struct {
	s      *Service
	repo   *registryclient.Repository
	pusher remotes.Pusher
	p      engine.Progress
}

func (s *Service) pushTag(ctx context.Context, auth registry.AuthConfig, r record, platform *ocispec.Platform, p engine.Progress) error {
	e := s.index.Load().byID[r.image]
	if e == nil {
		return notFound(r.name.String())
	}
	if platform != nil && !platforms.Only(*platform).Match(e.platform) {
		return errs.New(errs.NotFound, "image with reference %s was found but does not provide the specified platform (%s)",
			reference.FamiliarString(r.name), platforms.Format(*platform))
	}
	op, err := s.begin(ctx, loading)
	if err != nil {
		return err
	}
	defer op.abandon()
	if held, err := op.hold(ctx, e.manifest.Digest); err != nil || !held {
		return errors.Join(err, errs.New(errs.NotFound, "image %s is incomplete", shortID(e.id)))
	}
	// One for each tag: it remembers what was pushed, manifests included.
	repo := s.registry.Open(ctx, r.name, auth)
	defer repo.Close()
	pusher, err := repo.Pusher(ctx, r.name, e.manifest)
	if err != nil {
		return err
	}
	up := &push{s: s, repo: repo, pusher: pusher, p: p}
	if err := up.image(ctx, e.body); err != nil {
		return repo.Explain(err)
	}
	tag := ""
	if t, ok := r.name.(reference.Tagged); ok {
		tag = t.Tag()
	}
	p.Message("", fmt.Sprintf("%s: digest: %s size: %d", tag, e.manifest.Digest, e.manifest.Size))
	if _, err := s.name(ctx, e.body, naming{canonical(r.name, e.manifest.Digest), e.manifest}); err != nil {
		return err
	}
	name := reference.FamiliarString(r.name)
	s.publish(events.ActionPush, name, reference.FamiliarName(r.name), e.config.Config.Labels)
	return op.finish(ctx)
}

// image uploads layers side by side, then the config, then the manifest.
func (u *push) image(ctx context.Context, b *body) error {
	lines := make([]*layerProgress, len(b.layers))
	for i, l := range b.layers {
		lines[i] = &layerProgress{p: u.p, id: shortID(l.diffID)}
		lines[i].message("Preparing")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(u.s.registry.Options().MaxConcurrentUploads)
	for i, l := range b.layers {
		g.Go(func() error { return u.layer(gctx, l, lines[i]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	data, err := u.s.readBlob(ctx, b.manifest, maxManifest)
	if err != nil {
		return err
	}
	m, err := parseManifest(data, "")
	if err != nil {
		return err
	}
	if err := u.blob(ctx, m.Config, nil); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("push config: %w", err)
	}
	if err := u.blob(ctx, b.manifest, nil); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("push manifest: %w", err)
	}
	return nil
}

func (u *push) layer(ctx context.Context, l layer, line *layerProgress) error {
	desc, err := u.annotated(ctx, l.blob)
	if err != nil {
		return err
	}
	err = u.blob(ctx, desc, line)
	switch {
	case err == nil:
		line.message("Pushed")
	case !errdefs.IsAlreadyExists(err):
		return err
	default:
		if from := u.repo.MountedFrom(ctx, desc); from != "" {
			line.message("Mounted from " + familiarName(from))
		} else {
			line.message("Layer already exists")
		}
	}
	return nil
}

func familiarName(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarName(named)
}

// annotated tells the pusher from which repositories of the registry the blob
// came, so that it can ask to mount it instead.
func (u *push) annotated(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	info, err := u.s.Content.Info(ctx, desc.Digest)
	if err != nil {
		return desc, fmt.Errorf("find layer %s: %w", desc.Digest, err)
	}
	out := plain(desc)
	for k, v := range info.Labels {
		if strings.HasPrefix(k, "containerd.io/distribution.source.") {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[k] = v
		}
	}
	return out, nil
}

// blob uploads content unless the registry has it, which is AlreadyExists.
func (u *push) blob(ctx context.Context, desc ocispec.Descriptor, line *layerProgress) error {
	w, err := u.pusher.Push(ctx, desc)
	if err != nil {
		return err
	}
	defer w.Close()
	ra, err := u.s.Content.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	for try := 0; ; try++ {
		err := u.send(ctx, w, ra, desc, line)
		// The registry wanted the request again, with other credentials.
		if errors.Is(err, content.ErrReset) && try < u.s.registry.Options().MaxDownloadAttempts {
			continue
		}
		return err
	}
}

func (u *push) send(ctx context.Context, w content.Writer, ra content.ReaderAt, desc ocispec.Descriptor, line *layerProgress) error {
	r := &countingReader{r: content.NewReader(ra), report: func(n int64) {
		if line != nil {
			line.bytes("Pushing", n, desc.Size)
		}
	}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return w.Commit(ctx, desc.Size, desc.Digest)
}
