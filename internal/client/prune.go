package client

import (
	"context"
	"maps"
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/errs"
)

// PruneResult tells what a prune has removed.
type PruneResult[T any] struct {
	Report T
}

func prune[T any](ctx context.Context, c *Client, kind string, q params, f Filters) (PruneResult[T], error) {
	q.filters(f)
	report, err := call[T](ctx, c, request{method: http.MethodPost, path: "/" + kind + "/prune", query: q})
	return PruneResult[T]{Report: report}, err
}

// ContainerPruneOptions selects among the stopped containers.
type ContainerPruneOptions struct {
	Filters Filters
}

// ContainerPrune removes stopped containers.
func (c *Client) ContainerPrune(ctx context.Context, o ContainerPruneOptions) (PruneResult[container.PruneReport], error) {
	return prune[container.PruneReport](ctx, c, "containers", params{}, o.Filters)
}

// ImagePruneOptions selects among the unused images; of those, dangling=true is
// the default.
type ImagePruneOptions struct {
	Filters Filters
}

// ImagePrune removes unused images.
func (c *Client) ImagePrune(ctx context.Context, o ImagePruneOptions) (PruneResult[image.PruneReport], error) {
	return prune[image.PruneReport](ctx, c, "images", params{}, o.Filters)
}

// NetworkPruneOptions selects among the unused networks.
type NetworkPruneOptions struct {
	Filters Filters
}

// NetworkPrune removes unused networks.
func (c *Client) NetworkPrune(ctx context.Context, o NetworkPruneOptions) (PruneResult[network.PruneReport], error) {
	return prune[network.PruneReport](ctx, c, "networks", params{}, o.Filters)
}

// VolumePruneOptions selects among the unused volumes: those without a name of
// the user's, unless All is set.
type VolumePruneOptions struct {
	All     bool
	Filters Filters
}

// VolumePrune removes unused volumes.
func (c *Client) VolumePrune(ctx context.Context, o VolumePruneOptions) (PruneResult[volume.PruneReport], error) {
	if o.All {
		if _, ok := o.Filters["all"]; ok {
			return PruneResult[volume.PruneReport]{}, errs.New(errs.InvalidArgument, `conflicting options: cannot specify both "all" and "all" filter`)
		}
		all := Filters{}
		maps.Copy(all, o.Filters)
		o.Filters = all.Add("all", "true")
	}
	return prune[volume.PruneReport](ctx, c, "volumes", params{}, o.Filters)
}

// BuildCachePruneOptions selects what is unused of the build cache: what is
// dangling, unless All is set.
type BuildCachePruneOptions struct {
	All     bool
	Filters Filters
}

// BuildCachePrune removes what is unused of the build cache.
func (c *Client) BuildCachePrune(ctx context.Context, o BuildCachePruneOptions) (PruneResult[build.CachePruneReport], error) {
	q := params{}
	q.flag("all", o.All)
	return prune[build.CachePruneReport](ctx, c, "build", q, o.Filters)
}
