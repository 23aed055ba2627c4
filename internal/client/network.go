package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/network"
)

// NetworkCreateOptions describes a new network; nil and "" are the daemon's
// defaults. ConfigFrom names a network that was made with ConfigOnly.
type NetworkCreateOptions struct {
	Driver, Scope                             string
	EnableIPv4, EnableIPv6                    *bool
	IPAM                                      *network.IPAM
	Internal, Attachable, Ingress, ConfigOnly bool
	ConfigFrom                                string
	Options, Labels                           map[string]string
}

// NetworkCreateResult is a network that was created.
type NetworkCreateResult struct {
	ID      string
	Warning []string
}

// NetworkCreate creates a network.
func (c *Client) NetworkCreate(ctx context.Context, name string, o NetworkCreateOptions) (NetworkCreateResult, error) {
	body := network.CreateRequest{
		Name: name, Driver: o.Driver, Scope: o.Scope, EnableIPv4: o.EnableIPv4, EnableIPv6: o.EnableIPv6, IPAM: o.IPAM,
		Internal: o.Internal, Attachable: o.Attachable, Ingress: o.Ingress, ConfigOnly: o.ConfigOnly,
		Options: o.Options, Labels: o.Labels,
	}
	if o.ConfigFrom != "" {
		body.ConfigFrom = &network.ConfigReference{Network: o.ConfigFrom}
	}
	n, err := call[network.CreateResponse](ctx, c, request{method: http.MethodPost, path: "/networks/create", body: body})
	r := NetworkCreateResult{ID: n.ID}
	if n.Warning != "" {
		r.Warning = []string{n.Warning}
	}
	return r, err
}

// NetworkListOptions selects networks.
type NetworkListOptions struct {
	Filters Filters
}

// NetworkListResult is a list of networks.
type NetworkListResult struct {
	Items []network.Summary
}

// NetworkList lists networks.
func (c *Client) NetworkList(ctx context.Context, o NetworkListOptions) (NetworkListResult, error) {
	q := params{}
	q.filters(o.Filters)
	items, err := call[[]network.Summary](ctx, c, request{method: http.MethodGet, path: "/networks", query: q})
	return NetworkListResult{Items: items}, err
}

// NetworkInspectOptions can ask for a swarm's tasks, too.
type NetworkInspectOptions struct {
	Verbose bool
}

// NetworkInspectResult describes a network; Raw is the answer as it came.
type NetworkInspectResult struct {
	Network network.Inspect
	Raw     json.RawMessage
}

// NetworkInspect describes a network.
func (c *Client) NetworkInspect(ctx context.Context, name string, o NetworkInspectOptions) (NetworkInspectResult, error) {
	name, err := trimID("network", name)
	if err != nil {
		return NetworkInspectResult{}, err
	}
	q := params{}
	if o.Verbose {
		q.text("verbose", "true")
	}
	desc, raw, err := inspect[network.Inspect](ctx, c, request{method: http.MethodGet, path: "/networks/" + name, query: q})
	return NetworkInspectResult{Network: desc, Raw: raw}, err
}

// NetworkConnectOptions names a container and how the network shall see it.
type NetworkConnectOptions struct {
	Container      string
	EndpointConfig *network.EndpointSettings
}

// NetworkConnect connects a container to a network.
func (c *Client) NetworkConnect(ctx context.Context, name string, o NetworkConnectOptions) error {
	name, container, err := networkAndContainer(name, o.Container)
	if err != nil {
		return err
	}
	body := network.ConnectRequest{Container: container, EndpointConfig: o.EndpointConfig}
	return c.order(ctx, request{method: http.MethodPost, path: "/networks/" + name + "/connect", body: body})
}

// NetworkDisconnectOptions names a container, with Force one that is gone, too.
type NetworkDisconnectOptions struct {
	Container string
	Force     bool
}

// NetworkDisconnect takes a container off a network.
func (c *Client) NetworkDisconnect(ctx context.Context, name string, o NetworkDisconnectOptions) error {
	name, container, err := networkAndContainer(name, o.Container)
	if err != nil {
		return err
	}
	body := network.DisconnectRequest{Container: container, Force: o.Force}
	return c.order(ctx, request{method: http.MethodPost, path: "/networks/" + name + "/disconnect", body: body})
}

func networkAndContainer(network, container string) (n, c string, err error) {
	if n, err = trimID("network", network); err == nil {
		c, err = trimID("container", container)
	}
	return n, c, err
}

// NetworkRemove removes a network.
func (c *Client) NetworkRemove(ctx context.Context, name string) error {
	name, err := trimID("network", name)
	if err != nil {
		return err
	}
	return c.order(ctx, request{method: http.MethodDelete, path: "/networks/" + name})
}
