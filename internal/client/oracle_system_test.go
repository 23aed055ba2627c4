package client

import (
	"context"

	"github.com/moby/moby/api/types/registry"
	moby "github.com/moby/moby/client"
)

func systemPairs() []pair {
	return []pair{
		{"info",
			func(ctx context.Context, c *Client) error { return drop(c.Info(ctx)) },
			func(ctx context.Context, c *moby.Client) error { return drop(c.Info(ctx, moby.InfoOptions{})) }},
		{"version",
			func(ctx context.Context, c *Client) error { return drop(c.ServerVersion(ctx)) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ServerVersion(ctx, moby.ServerVersionOptions{}))
			}},
		{"df",
			func(ctx context.Context, c *Client) error {
				return drop(c.DiskUsage(ctx, DiskUsageOptions{Verbose: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.DiskUsage(ctx, moby.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true, Verbose: true}))
			}},
		{"login",
			func(ctx context.Context, c *Client) error {
				return drop(c.RegistryLogin(ctx, registry.AuthConfig{Username: "u", Password: "p", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r", Auth: "a"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.RegistryLogin(ctx, moby.RegistryLoginOptions{Username: "u", Password: "p", ServerAddress: "s", IdentityToken: "i", RegistryToken: "r"}))
			}},
		{"events",
			func(ctx context.Context, c *Client) error {
				return <-c.Events(ctx, EventsListOptions{Since: "2013-01-02", Until: "1500000000.5", Filters: thing}).Err
			},
			func(ctx context.Context, c *moby.Client) error {
				return <-c.Events(ctx, moby.EventsListOptions{Since: "2013-01-02", Until: "1500000000.5", Filters: moby.Filters(thing)}).Err
			}},
	}
}

func swarmPairs() []pair {
	return []pair{
		{"service",
			func(ctx context.Context, c *Client) error { return drop(c.ServiceInspect(ctx, "s")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ServiceInspect(ctx, "s", moby.ServiceInspectOptions{}))
			}},
		{"task",
			func(ctx context.Context, c *Client) error { return drop(c.TaskInspect(ctx, "s")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.TaskInspect(ctx, "s", moby.TaskInspectOptions{}))
			}},
		{"node",
			func(ctx context.Context, c *Client) error { return drop(c.NodeInspect(ctx, "s")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NodeInspect(ctx, "s", moby.NodeInspectOptions{}))
			}},
		{"plugin",
			func(ctx context.Context, c *Client) error { return drop(c.PluginInspect(ctx, "s")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.PluginInspect(ctx, "s", moby.PluginInspectOptions{}))
			}},
		{"secret",
			func(ctx context.Context, c *Client) error { return drop(c.SecretInspect(ctx, "s")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.SecretInspect(ctx, "s", moby.SecretInspectOptions{}))
			}},
		{"config",
			func(ctx context.Context, c *Client) error { return drop(c.ConfigInspect(ctx, " ")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ConfigInspect(ctx, " ", moby.ConfigInspectOptions{}))
			}},
	}
}
