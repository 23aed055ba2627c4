package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/registry"
)

// Pull fetches an image, or all tags of a repository, and unpacks it.
func (s *Service) Pull(ctx context.Context, req engine.ImagePull, p engine.Progress) (err error) {
	defer func() { err = refused(err) }()
	named, err := parseName(req.Ref)
	if err != nil {
		return err
	}
	repo := s.registry.Open(scoped(ctx), named, req.Auth)
	defer repo.Close()
	pl := &pull{s: s, repo: repo, platform: req.Platform, p: p}
	if !req.All {
		return pl.run(scoped(ctx), withoutTag(reference.TagNameOnly(named)))
	}
	if !reference.IsNameOnly(named) {
		return errs.New(errs.InvalidArgument, "tag can't be used with --all-tags/-a")
	}
	tags, err := repo.Tags(scoped(ctx))
	if err != nil {
		return err
	}
	for _, t := range tags {
		tagged, err := reference.WithTag(named, t)
		if err != nil {
			return errs.New(errs.Internal, "registry listed the invalid tag %q: %w", t, err)
		}
		if err := pl.run(scoped(ctx), tagged); err != nil {
			return err
		}
	}
	return nil
}

// pull is what one request wants.
type pull struct {
	s        *Service
	repo     *registry.Repository
	platform *ocispec.Platform // nil: the host's
	p        engine.Progress
}

// run pulls one reference. Equal pulls wait for each other.
func (l *pull) run(ctx context.Context, ref reference.Named) error {
	unlock, err := l.s.pulls.lock(ctx, ref.String())
	if err != nil {
		return err
	}
	defer unlock()
	target, err := l.resolve(ctx, ref)
	if err != nil {
		if builtin(ref) && ctx.Err() == nil {
			return l.s.useBuiltin(ctx, ref, l.platform, err, l.p)
		}
		return err
	}
	op, err := l.s.begin(ctx, pulling)
	if err != nil {
		return err
	}
	changed, b, err := l.fetch(ctx, op, ref, target)
	if err != nil {
		l.give(op, err)
		return err
	}
	if err := op.finish(ctx); err != nil {
		return err
	}
	l.report(ref, target, b, changed)
	return nil
}

// give ends a failed operation. What a broken connection or an impatient user
// left is kept for the next attempt; what is wrong or does not fit is not.
func (l *pull) give(op *operation, err error) {
	kept := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || registry.Transient(err)
	if kept && !errors.Is(err, syscall.ENOSPC) {
		op.park()
		return
	}
	op.abandon()
}

func (l *pull) resolve(ctx context.Context, ref reference.Named) (ocispec.Descriptor, error) {
	if builtin(ref) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, builtinPatience)
		defer cancel()
	}
	return l.repo.Resolve(ctx, ref)
}

func (l *pull) report(ref reference.Named, target ocispec.Descriptor, b *body, changed bool) {
	name := reference.FamiliarString(ref)
	l.p.Message("", "Digest: "+target.Digest.String())
	status := "Status: Image is up to date for "
	if changed {
		status = "Status: Downloaded newer image for "
	}
	l.p.Message("", status+name)
	l.s.publish(events.ActionPull, name, reference.FamiliarName(ref), b.config.Config.Labels)
}

// fetch brings in what the reference points at for the wanted platform.
func (l *pull) fetch(ctx context.Context, op *operation, ref reference.Named, target ocispec.Descriptor) (changed bool, b *body, err error) {
	a, m, err := l.documents(ctx, ref, target)
	if err != nil {
		return false, nil, err
	}
	if a.config.OS != "" && a.config.OS != runtime.GOOS {
		return false, nil, errs.New(errs.InvalidArgument, "image operating system %q cannot be used on this platform: operating system is not supported", a.config.OS)
	}
	a.source = map[string]string{sourceLabel(ref): reference.Path(ref)}
	known, err := l.known(ctx, op, a)
	if err != nil {
		return false, nil, err
	}
	if !known {
		if err := l.layers(ctx, op, a); err != nil {
			return false, nil, err
		}
		l.s.measure(ctx, a.body)
	}
	a.names = append(a.names, naming{canonical(ref, target.Digest), target})
	if tagged, ok := ref.(reference.NamedTagged); ok {
		a.names = append(a.names, naming{tagged, target})
	}
	changed, err = l.s.admit(ctx, op, a)
	if err == nil && m && l.platform != nil && !platforms.Only(*l.platform).Match(a.platform) {
		l.p.Message("", fmt.Sprintf("WARNING: image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			reference.FamiliarString(ref), platforms.Format(a.platform), platforms.Format(*l.platform)))
	}
	return changed, a.body, err
}

// sourceLabel is where containerd's pusher looks for repositories of the same
// registry from which a blob can be mounted. It leaves out the port.
func sourceLabel(ref reference.Named) string {
	host := reference.Domain(ref)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return "containerd.io/distribution.source." + host
}

// known tells whether the very same image is here, and holds it.
func (l *pull) known(ctx context.Context, op *operation, a *arrival) (bool, error) {
	e := l.s.index.Load().byID[a.id]
	if e == nil || e.manifest.Digest != a.manifest.Digest {
		return false, nil
	}
	held, err := op.hold(ctx, e.manifest.Digest)
	if err != nil || !held {
		return false, err
	}
	if chain := e.chain(); chain != "" {
		if _, err := l.s.Snapshotter.Stat(ctx, chain.String()); err != nil {
			return false, nil // made, but never unpacked
		}
	}
	return true, nil
}

// documents fetches index, manifest and config. single says that there was no
// index to choose a platform from.
func (l *pull) documents(ctx context.Context, ref reference.Named, target ocispec.Descriptor) (a *arrival, single bool, err error) {
	a = &arrival{}
	desc := target
	if images.IsIndexType(target.MediaType) {
		if a.indexJSON, err = l.s.fetchDocument(ctx, l.repo, target, maxManifest); err != nil {
			return nil, false, err
		}
		index, err := parseIndex(a.indexJSON)
		if err != nil {
			return nil, false, err
		}
		if desc, err = choose(index, l.platform); err != nil {
			return nil, false, err
		}
		a.index = &target
	}
	if !images.IsManifestType(desc.MediaType) {
		return nil, false, errs.New(errs.InvalidArgument, "unsupported media type %s", desc.MediaType)
	}
	if a.manifestJSON, err = l.s.fetchDocument(ctx, l.repo, desc, maxManifest); err != nil {
		return nil, false, err
	}
	l.p.Message(tagOrDigest(ref), "Pulling from "+reference.Path(ref))
	manifest, err := parseManifest(a.manifestJSON, desc.MediaType)
	if err != nil {
		return nil, false, err
	}
	if a.configJSON, err = l.s.fetchDocument(ctx, l.repo, manifest.Config, maxConfig); err != nil {
		return nil, false, err
	}
	a.body, err = parseBody(plain(desc), manifest, a.configJSON)
	return a, a.index == nil, err
}

func tagOrDigest(ref reference.Named) string {
	switch r := ref.(type) {
	case reference.Digested:
		return r.Digest().String()
	case reference.Tagged:
		return r.Tag()
	}
	return ""
}

// choose finds the manifest for a platform (nil: the host's, or one that it
// can run).
func choose(index ocispec.Index, platform *ocispec.Platform) (ocispec.Descriptor, error) {
	wanted := platforms.DefaultSpec()
	if platform != nil {
		wanted = platforms.Normalize(*platform)
	}
	match := platforms.Only(wanted)
	var best *ocispec.Descriptor
	for i := range index.Manifests {
		m := &index.Manifests[i]
		if m.Platform == nil || !match.Match(*m.Platform) || !images.IsManifestType(m.MediaType) {
			continue
		}
		if best == nil || match.Less(*m.Platform, *best.Platform) {
			best = m
		}
	}
	if best == nil {
		return ocispec.Descriptor{}, errs.New(errs.NotFound, "no matching manifest for %s in the manifest list entries", platforms.Format(wanted))
	}
	return *best, nil
}

// layers fetches and unpacks the layers, and reports them.
func (l *pull) layers(ctx context.Context, op *operation, a *arrival) error {
	lines := make([]*layerProgress, len(a.body.layers))
	for i, ly := range a.body.layers {
		lines[i] = &layerProgress{p: l.p, id: shortID(ly.blob.Digest)}
		if _, err := l.s.Snapshotter.Stat(ctx, ly.chainID.String()); err != nil {
			lines[i].message("Pulling fs layer")
		}
	}
	work := &assembly{
		s: l.s, op: op, layers: a.body.layers,
		fetch: func(ctx context.Context, i int) error {
			d := download{s: l.s, op: op, repo: l.repo, desc: a.body.layers[i].blob, progress: lines[i], labels: a.source}
			return d.run(ctx)
		},
		present:    func(i int) { lines[i].message("Already exists") },
		extracting: func(i int, n int64) { lines[i].bytes("Extracting", n, a.body.layers[i].blob.Size) },
		done:       func(i int) { lines[i].message("Pull complete") },
	}
	return work.run(ctx)
}

// refused words missing or wrong credentials as Docker's daemon does: as an
// image that is not there for this user. Clients take "unauthorized" for a
// reason to ask for a password, also where nobody can type one.
func refused(err error) error {
	if errs.Is(err, errs.Unauthorized) {
		return errs.Wrap(errs.NotFound, err)
	}
	return err
}
