package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/reference"
)

// ImageListOptions selects images: those that are no other's base, unless All
// is set.
type ImageListOptions struct {
	All     bool
	Filters Filters
}

// ImageListResult is a list of images.
type ImageListResult struct {
	Items []image.Summary
}

// ImageList lists images.
func (c *Client) ImageList(ctx context.Context, o ImageListOptions) (ImageListResult, error) {
	q := params{}
	q.flag("all", o.All)
	q.filters(o.Filters)
	items, err := call[[]image.Summary](ctx, c, request{method: http.MethodGet, path: "/images/json", query: q})
	return ImageListResult{Items: items}, err
}

// ImageInspectOptions can name one platform of an image that has several.
type ImageInspectOptions struct {
	Platform *ocispec.Platform
}

// ImageInspectResult describes an image; Raw is the answer as it came.
type ImageInspectResult struct {
	Image image.InspectResponse
	Raw   json.RawMessage
}

// ImageInspect describes an image.
func (c *Client) ImageInspect(ctx context.Context, name string, o ImageInspectOptions) (ImageInspectResult, error) {
	if name == "" {
		return ImageInspectResult{}, errs.New(errs.NotFound, "Error: No such image: ")
	}
	q := params{}
	if o.Platform != nil {
		if err := c.require(ctx, version{1, 49}, "platform"); err != nil {
			return ImageInspectResult{}, err
		}
		if err := q.platforms("platform", *o.Platform); err != nil {
			return ImageInspectResult{}, err
		}
	}
	desc, raw, err := inspect[image.InspectResponse](ctx, c, request{method: http.MethodGet, path: "/images/" + name + "/json", query: q})
	return ImageInspectResult{Image: desc, Raw: raw}, err
}

// ImageHistoryOptions can name one platform of an image that has several.
type ImageHistoryOptions struct {
	Platform *ocispec.Platform
}

// ImageHistoryResult is a list of layers, the newest first.
type ImageHistoryResult struct {
	Items []image.HistoryResponseItem
}

// ImageHistory tells how an image was made.
func (c *Client) ImageHistory(ctx context.Context, name string, o ImageHistoryOptions) (ImageHistoryResult, error) {
	q := params{}
	if o.Platform != nil {
		if err := c.requirePlatforms(ctx, q, *o.Platform); err != nil {
			return ImageHistoryResult{}, err
		}
	}
	items, err := call[[]image.HistoryResponseItem](ctx, c, request{method: http.MethodGet, path: "/images/" + name + "/history", query: q})
	return ImageHistoryResult{Items: items}, err
}

// requirePlatforms adds the platforms to a query of an API that can select them.
func (c *Client) requirePlatforms(ctx context.Context, q params, list ...ocispec.Platform) error {
	if len(list) == 0 {
		return nil
	}
	if err := c.require(ctx, version{1, 48}, "platform"); err != nil {
		return err
	}
	return q.platforms("platform", list...)
}

// ImageTagOptions names an image and what it shall be called, too.
type ImageTagOptions struct {
	Source, Target string
}

// ImageTag gives an image another name.
func (c *Client) ImageTag(ctx context.Context, o ImageTagOptions) error {
	if _, err := reference.ParseAny(o.Source); err != nil {
		return fmt.Errorf("error parsing reference: %q is not a valid repository/tag: %w", o.Source, err)
	}
	ref, err := reference.Parse(o.Target)
	if err != nil {
		return fmt.Errorf("error parsing reference: %q is not a valid repository/tag: %w", o.Target, err)
	}
	q := params{}
	if err := q.target(ref); err != nil {
		return err
	}
	return c.order(ctx, request{method: http.MethodPost, path: "/images/" + o.Source + "/tag", query: q})
}

// target adds the name that an image is to get.
func (p params) target(ref reference.Ref) error {
	if ref.Digest != "" {
		return errors.New("refusing to create a tag with a digest reference")
	}
	p.text("repo", ref.Name())
	p.text("tag", ref.WithDefaultTag().Tag)
	return nil
}

// ImageRemoveOptions tells what goes with the name. Without Platforms all do.
type ImageRemoveOptions struct {
	Force, PruneChildren bool
	Platforms            []ocispec.Platform
}

// ImageRemoveResult lists what was untagged and what deleted.
type ImageRemoveResult struct {
	Items []image.DeleteResponse
}

// ImageRemove removes a name, and the image with its last.
func (c *Client) ImageRemove(ctx context.Context, name string, o ImageRemoveOptions) (ImageRemoveResult, error) {
	q := params{}
	q.flag("force", o.Force)
	q.flag("noprune", !o.PruneChildren)
	if err := q.platforms("platforms", o.Platforms...); err != nil {
		return ImageRemoveResult{}, err
	}
	items, err := call[[]image.DeleteResponse](ctx, c, request{method: http.MethodDelete, path: "/images/" + name, query: q})
	return ImageRemoveResult{Items: items}, err
}
