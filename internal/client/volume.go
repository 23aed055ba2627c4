package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/volume"
)

// VolumeCreateOptions describes a new volume; an empty name is the daemon's to
// find.
type VolumeCreateOptions struct {
	Name, Driver       string
	DriverOpts, Labels map[string]string
}

// VolumeCreateResult is a volume that was created, or had been.
type VolumeCreateResult struct {
	Volume volume.Volume
}

// VolumeCreate creates a volume.
func (c *Client) VolumeCreate(ctx context.Context, o VolumeCreateOptions) (VolumeCreateResult, error) {
	body := volume.CreateRequest{Name: o.Name, Driver: o.Driver, DriverOpts: o.DriverOpts, Labels: o.Labels}
	v, err := call[volume.Volume](ctx, c, request{method: http.MethodPost, path: "/volumes/create", body: body})
	return VolumeCreateResult{Volume: v}, err
}

// VolumeListOptions selects volumes.
type VolumeListOptions struct {
	Filters Filters
}

// VolumeListResult is a list of volumes.
type VolumeListResult struct {
	Items []volume.Volume
}

// VolumeList lists volumes.
func (c *Client) VolumeList(ctx context.Context, o VolumeListOptions) (VolumeListResult, error) {
	q := params{}
	q.filters(o.Filters)
	list, err := call[volume.ListResponse](ctx, c, request{method: http.MethodGet, path: "/volumes", query: q})
	return VolumeListResult{Items: list.Volumes}, err
}

// VolumeInspectResult describes a volume; Raw is the answer as it came.
type VolumeInspectResult struct {
	Volume volume.Volume
	Raw    json.RawMessage
}

// VolumeInspect describes a volume.
func (c *Client) VolumeInspect(ctx context.Context, name string) (VolumeInspectResult, error) {
	name, err := trimID("volume", name)
	if err != nil {
		return VolumeInspectResult{}, err
	}
	desc, raw, err := inspect[volume.Volume](ctx, c, request{method: http.MethodGet, path: "/volumes/" + name})
	return VolumeInspectResult{Volume: desc, Raw: raw}, err
}

// VolumeRemoveOptions tells whether a missing volume is an error.
type VolumeRemoveOptions struct {
	Force bool
}

// VolumeRemove removes a volume.
func (c *Client) VolumeRemove(ctx context.Context, name string, o VolumeRemoveOptions) error {
	name, err := trimID("volume", name)
	if err != nil {
		return err
	}
	q := params{}
	q.flag("force", o.Force)
	return c.order(ctx, request{method: http.MethodDelete, path: "/volumes/" + name, query: q})
}
