package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/plugin"
	"github.com/moby/moby/api/types/swarm"
)

// Object is one of the things that are only inspected; Raw is the answer as it
// came.
type Object[T any] struct {
	Value T
	Raw   json.RawMessage
}

func inspectObject[T any](ctx context.Context, c *Client, kind, name, suffix string) (Object[T], error) {
	name, err := trimID(kind, name)
	if err != nil {
		return Object[T]{}, err
	}
	value, raw, err := inspect[T](ctx, c, request{method: http.MethodGet, path: "/" + kind + "s/" + name + suffix})
	return Object[T]{Value: value, Raw: raw}, err
}

// ServiceInspect describes a service of a swarm.
func (c *Client) ServiceInspect(ctx context.Context, name string) (Object[swarm.Service], error) {
	return inspectObject[swarm.Service](ctx, c, "service", name, "")
}

// TaskInspect describes a task of a swarm.
func (c *Client) TaskInspect(ctx context.Context, name string) (Object[swarm.Task], error) {
	return inspectObject[swarm.Task](ctx, c, "task", name, "")
}

// NodeInspect describes a node of a swarm.
func (c *Client) NodeInspect(ctx context.Context, name string) (Object[swarm.Node], error) {
	return inspectObject[swarm.Node](ctx, c, "node", name, "")
}

// SecretInspect describes a secret of a swarm.
func (c *Client) SecretInspect(ctx context.Context, name string) (Object[swarm.Secret], error) {
	return inspectObject[swarm.Secret](ctx, c, "secret", name, "")
}

// ConfigInspect describes a config of a swarm.
func (c *Client) ConfigInspect(ctx context.Context, name string) (Object[swarm.Config], error) {
	return inspectObject[swarm.Config](ctx, c, "config", name, "")
}

// PluginInspect describes a plugin.
func (c *Client) PluginInspect(ctx context.Context, name string) (Object[plugin.Plugin], error) {
	return inspectObject[plugin.Plugin](ctx, c, "plugin", name, "/json")
}
