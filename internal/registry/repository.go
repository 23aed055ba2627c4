package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Repository is a repository as one caller sees it. It is safe for concurrent
// use. Errors carry errs kinds and Docker's text.
type Repository struct {
	client   *Client
	name     reference.Named // without tag or digest
	auth     registry.AuthConfig
	resolver remotes.Resolver
	tracker  docker.StatusTracker

	mu         sync.Mutex
	transports []*http.Transport
}

// Open makes a repository ready; nothing is sent. Close must be called.
func (c *Client) Open(ctx context.Context, name reference.Named, auth registry.AuthConfig) *Repository {
	r := &Repository{client: c, name: reference.TrimNamed(name), auth: auth, tracker: docker.NewInMemoryTracker()}
	r.resolver = docker.NewResolver(docker.ResolverOptions{
		Hosts:   r.hosts(ctx),
		Headers: http.Header{"User-Agent": {c.opts.UserAgent}},
		Tracker: r.tracker,
	})
	return r
}

// Close ends idle connections.
func (r *Repository) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.transports {
		t.CloseIdleConnections()
	}
}

// Resolve asks for the descriptor of a tag or digest of this repository.
func (r *Repository) Resolve(ctx context.Context, ref reference.Named) (ocispec.Descriptor, error) {
	_, desc, err := r.resolver.Resolve(ctx, ref.String())
	if err != nil {
		return desc, r.explain(err, ref)
	}
	if err := desc.Digest.Validate(); err != nil {
		return desc, fmt.Errorf("resolve %s: registry gave an invalid digest: %w", reference.FamiliarString(ref), err)
	}
	return desc, nil
}

// Blob is content that is read from a registry. It can seek: an interrupted
// download goes on with a Range request.
type Blob interface {
	io.ReadSeekCloser
}

// Fetch opens a manifest or blob. Nothing is verified yet.
func (r *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor) (Blob, error) {
	f, err := r.resolver.Fetcher(ctx, r.name.String())
	if err != nil {
		return nil, r.explain(err, r.name)
	}
	desc.URLs = nil // never fetch from where a manifest points
	rc, err := f.Fetch(ctx, desc)
	if err != nil {
		return nil, r.explain(err, r.name)
	}
	blob, ok := rc.(Blob)
	if !ok {
		_ = rc.Close() // nothing was read
		return nil, fmt.Errorf("fetch %s: content cannot seek", desc.Digest)
	}
	return blob, nil
}

// Explain gives an error that reading a Blob returned its kind and text.
func (r *Repository) Explain(err error) error { return r.explain(err, r.name) }

// Pusher uploads to a tag; desc is what the tag will point at.
func (r *Repository) Pusher(ctx context.Context, tag reference.Named, desc ocispec.Descriptor) (remotes.Pusher, error) {
	// The digest makes only this one descriptor take the tag.
	p, err := r.resolver.Pusher(ctx, tag.String()+"@"+desc.Digest.String())
	if err != nil {
		return nil, r.explain(err, tag)
	}
	return p, nil
}

// MountedFrom names the repository from which the registry took a pushed blob
// without an upload, "" if it was uploaded.
func (r *Repository) MountedFrom(ctx context.Context, desc ocispec.Descriptor) string {
	st, err := r.tracker.GetStatus(remotes.MakeRefKey(ctx, desc))
	if err != nil {
		return ""
	}
	return st.MountedFrom
}
