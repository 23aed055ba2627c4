package client

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/reference"
)

// ImagePullOptions tells which tags and platform to get. RegistryAuth is the
// value of the header of that name, "" for none.
type ImagePullOptions struct {
	All          bool
	RegistryAuth string
	Platforms    []ocispec.Platform // at most one
}

// ImagePull gets an image from its registry. What it returns is the progress
// as JSON messages, an error of the pull among them; the pull lasts until its
// end, or until it is closed, as the caller must.
func (c *Client) ImagePull(ctx context.Context, name string, o ImagePullOptions) (io.ReadCloser, error) {
	ref, err := reference.Parse(name)
	if err != nil {
		return nil, err
	}
	q := params{"fromImage": {ref.Name()}}
	switch {
	case o.All:
	case ref.Digest != "":
		q.text("tag", ref.Digest)
	default:
		q.text("tag", ref.WithDefaultTag().Tag)
	}
	if len(o.Platforms) > 1 {
		return nil, errs.New(errs.InvalidArgument, "specifying multiple platforms is not yet supported")
	}
	for _, p := range o.Platforms {
		q.text("platform", platformName(p))
	}
	return c.stream(ctx, request{method: http.MethodPost, path: "/images/create", query: q, header: authHeader(o.RegistryAuth)})
}

// ImagePushOptions tells which tags and platform to send, as ImagePullOptions
// does.
type ImagePushOptions struct {
	All          bool
	RegistryAuth string
	Platform     *ocispec.Platform // nil: all that there are
}

// ImagePush sends an image to its registry, with progress as ImagePull has it.
func (c *Client) ImagePush(ctx context.Context, name string, o ImagePushOptions) (io.ReadCloser, error) {
	ref, err := reference.Parse(name)
	if err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		return nil, errors.New("cannot push a digest reference")
	}
	q := params{}
	if !o.All {
		q.text("tag", ref.WithDefaultTag().Tag)
	}
	if o.Platform != nil {
		if err := c.require(ctx, version{1, 46}, "platform"); err != nil {
			return nil, err
		}
		if err := q.platforms("platform", *o.Platform); err != nil {
			return nil, err
		}
	}
	return c.stream(ctx, request{method: http.MethodPost, path: "/images/" + ref.Name() + "/push", query: q, header: authHeader(o.RegistryAuth)})
}

func authHeader(auth string) http.Header {
	h := http.Header{}
	if auth != "" {
		h.Set(registry.AuthHeader, auth)
	}
	return h
}

// ImageLoadOptions tells which platforms to take, all without any.
type ImageLoadOptions struct {
	Quiet     bool
	Platforms []ocispec.Platform
}

// ImageLoad reads images from an archive that ImageSave has made. It returns
// the daemon's messages, which the caller closes.
func (c *Client) ImageLoad(ctx context.Context, archive io.Reader, o ImageLoadOptions) (io.ReadCloser, error) {
	q := params{"quiet": {"0"}}
	q.flag("quiet", o.Quiet)
	if err := c.requirePlatforms(ctx, q, o.Platforms...); err != nil {
		return nil, err
	}
	return c.stream(ctx, request{
		method: http.MethodPost, path: "/images/load", query: q, body: archive,
		header: http.Header{"Content-Type": {"application/x-tar"}},
	})
}

// ImageSaveOptions tells which platforms to save, all without any.
type ImageSaveOptions struct {
	Platforms []ocispec.Platform
}

// ImageSave gives images as a tar archive, which the caller closes.
func (c *Client) ImageSave(ctx context.Context, names []string, o ImageSaveOptions) (io.ReadCloser, error) {
	q := params{"names": names}
	if err := c.requirePlatforms(ctx, q, o.Platforms...); err != nil {
		return nil, err
	}
	return c.stream(ctx, request{method: http.MethodGet, path: "/images/get", query: q})
}

// ImageImportSource is a tar archive of a file system: with SourceName "-" the
// bytes of Source, else what the daemon finds at a URL.
type ImageImportSource struct {
	Source     io.Reader
	SourceName string
}

// ImageImportOptions describes the image.
type ImageImportOptions struct {
	Message  string
	Changes  []string // instructions of a Dockerfile
	Platform ocispec.Platform
}

// ImageImport makes an image, with progress as ImagePull has it. The name may
// be "".
func (c *Client) ImageImport(ctx context.Context, src ImageImportSource, name string, o ImageImportOptions) (io.ReadCloser, error) {
	if name != "" {
		if _, err := reference.Parse(name); err != nil {
			return nil, err
		}
	}
	q := params{"changes": o.Changes}
	q.text("fromSrc", src.SourceName)
	q.text("repo", name)
	q.text("message", o.Message)
	q.text("platform", platformName(o.Platform))
	return c.stream(ctx, request{method: http.MethodPost, path: "/images/create", query: q, body: src.Source})
}
