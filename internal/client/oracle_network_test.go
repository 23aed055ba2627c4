package client

import (
	"context"

	"github.com/moby/moby/api/types/network"
	moby "github.com/moby/moby/client"
)

func networkPairs() []pair {
	ep := &network.EndpointSettings{Aliases: []string{"a"}}
	return []pair{
		{"network create",
			func(ctx context.Context, c *Client) error {
				return drop(c.NetworkCreate(ctx, "n", NetworkCreateOptions{Driver: "bridge", Scope: "local", EnableIPv6: &yes, IPAM: &network.IPAM{Driver: "default"},
					Internal: true, Attachable: true, Ingress: true, ConfigOnly: true, ConfigFrom: "c", Options: ab, Labels: cd}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkCreate(ctx, "n", moby.NetworkCreateOptions{Driver: "bridge", Scope: "local", EnableIPv6: &yes, IPAM: &network.IPAM{Driver: "default"},
					Internal: true, Attachable: true, Ingress: true, ConfigOnly: true, ConfigFrom: "c", Options: ab, Labels: cd}))
			}},
		{"network ls",
			func(ctx context.Context, c *Client) error {
				return drop(c.NetworkList(ctx, NetworkListOptions{Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkList(ctx, moby.NetworkListOptions{Filters: moby.Filters(thing)}))
			}},
		{"network inspect",
			func(ctx context.Context, c *Client) error {
				return drop(c.NetworkInspect(ctx, "n", NetworkInspectOptions{Verbose: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkInspect(ctx, "n", moby.NetworkInspectOptions{Verbose: true}))
			}},
		{"network connect",
			func(ctx context.Context, c *Client) error {
				return c.NetworkConnect(ctx, "n", NetworkConnectOptions{Container: "x", EndpointConfig: ep})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkConnect(ctx, "n", moby.NetworkConnectOptions{Container: "x", EndpointConfig: ep}))
			}},
		{"network disconnect",
			func(ctx context.Context, c *Client) error {
				return c.NetworkDisconnect(ctx, "n", NetworkDisconnectOptions{Container: "x", Force: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkDisconnect(ctx, "n", moby.NetworkDisconnectOptions{Container: "x", Force: true}))
			}},
		{"network disconnect nothing",
			func(ctx context.Context, c *Client) error {
				return c.NetworkDisconnect(ctx, "n", NetworkDisconnectOptions{})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkDisconnect(ctx, "n", moby.NetworkDisconnectOptions{}))
			}},
		{"network rm",
			func(ctx context.Context, c *Client) error { return c.NetworkRemove(ctx, "n") },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkRemove(ctx, "n", moby.NetworkRemoveOptions{}))
			}},
	}
}

func volumeAndPrunePairs() []pair {
	return []pair{
		{"volume create",
			func(ctx context.Context, c *Client) error {
				return drop(c.VolumeCreate(ctx, VolumeCreateOptions{Name: "v", Driver: "local", DriverOpts: ab, Labels: cd}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumeCreate(ctx, moby.VolumeCreateOptions{Name: "v", Driver: "local", DriverOpts: ab, Labels: cd}))
			}},
		{"volume ls",
			func(ctx context.Context, c *Client) error {
				return drop(c.VolumeList(ctx, VolumeListOptions{Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumeList(ctx, moby.VolumeListOptions{Filters: moby.Filters(thing)}))
			}},
		{"volume inspect",
			func(ctx context.Context, c *Client) error { return drop(c.VolumeInspect(ctx, "v")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumeInspect(ctx, "v", moby.VolumeInspectOptions{}))
			}},
		{"volume rm",
			func(ctx context.Context, c *Client) error {
				return c.VolumeRemove(ctx, "v", VolumeRemoveOptions{Force: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumeRemove(ctx, "v", moby.VolumeRemoveOptions{Force: true}))
			}},
		{"prune containers",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerPrune(ctx, ContainerPruneOptions{Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerPrune(ctx, moby.ContainerPruneOptions{Filters: moby.Filters(thing)}))
			}},
		{"prune networks",
			func(ctx context.Context, c *Client) error { return drop(c.NetworkPrune(ctx, NetworkPruneOptions{})) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.NetworkPrune(ctx, moby.NetworkPruneOptions{}))
			}},
		{"prune volumes",
			func(ctx context.Context, c *Client) error {
				return drop(c.VolumePrune(ctx, VolumePruneOptions{All: true, Filters: Filters{}.Add("label", "x")}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumePrune(ctx, moby.VolumePruneOptions{All: true, Filters: moby.Filters{}.Add("label", "x")}))
			}},
		{"prune volumes twice all",
			func(ctx context.Context, c *Client) error {
				return drop(c.VolumePrune(ctx, VolumePruneOptions{All: true, Filters: Filters{}.Add("all", "x")}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.VolumePrune(ctx, moby.VolumePruneOptions{All: true, Filters: moby.Filters{}.Add("all", "x")}))
			}},
		{"prune cache",
			func(ctx context.Context, c *Client) error {
				return drop(c.BuildCachePrune(ctx, BuildCachePruneOptions{All: true, Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.BuildCachePrune(ctx, moby.BuildCachePruneOptions{All: true, Filters: moby.Filters(thing)}))
			}},
	}
}
