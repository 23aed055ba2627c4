package client

import (
	"context"
	"io"
	"strings"

	moby "github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func imagePairs() []pair {
	var out []pair
	id := strings.Repeat("a", 64)
	for _, name := range []string{"alpine", "a/b:c", "h:1/b@sha256:" + id, "h/b:c@sha256:" + id, "A", "", id} {
		out = append(out,
			pair{"pull " + name,
				func(ctx context.Context, c *Client) error {
					return closing(c.ImagePull(ctx, name, ImagePullOptions{RegistryAuth: "secret", Platforms: []ocispec.Platform{arm}}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return closing(c.ImagePull(ctx, name, moby.ImagePullOptions{RegistryAuth: "secret", Platforms: []ocispec.Platform{arm}}))
				}},
			pair{"pull all of " + name,
				func(ctx context.Context, c *Client) error {
					return closing(c.ImagePull(ctx, name, ImagePullOptions{All: true}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return closing(c.ImagePull(ctx, name, moby.ImagePullOptions{All: true}))
				}},
			pair{"push " + name,
				func(ctx context.Context, c *Client) error {
					return closing(c.ImagePush(ctx, name, ImagePushOptions{RegistryAuth: "secret", Platform: &arm}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return closing(c.ImagePush(ctx, name, moby.ImagePushOptions{RegistryAuth: "secret", Platform: &arm}))
				}},
			pair{"push all of " + name,
				func(ctx context.Context, c *Client) error {
					return closing(c.ImagePush(ctx, name, ImagePushOptions{All: true}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return closing(c.ImagePush(ctx, name, moby.ImagePushOptions{All: true}))
				}},
			pair{"tag alpine " + name,
				func(ctx context.Context, c *Client) error {
					return c.ImageTag(ctx, ImageTagOptions{Source: "alpine", Target: name})
				},
				func(ctx context.Context, c *moby.Client) error {
					return drop(c.ImageTag(ctx, moby.ImageTagOptions{Source: "alpine", Target: name}))
				}},
			pair{"tag " + name + " alpine",
				func(ctx context.Context, c *Client) error {
					return c.ImageTag(ctx, ImageTagOptions{Source: name, Target: "alpine"})
				},
				func(ctx context.Context, c *moby.Client) error {
					return drop(c.ImageTag(ctx, moby.ImageTagOptions{Source: name, Target: "alpine"}))
				}},
			pair{"commit x " + name,
				func(ctx context.Context, c *Client) error {
					return drop(c.ContainerCommit(ctx, "x", ContainerCommitOptions{Reference: name}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return drop(c.ContainerCommit(ctx, "x", moby.ContainerCommitOptions{Reference: name}))
				}},
			pair{"import " + name,
				func(ctx context.Context, c *Client) error {
					src := ImageImportSource{Source: strings.NewReader("tar"), SourceName: "-"}
					return closing(c.ImageImport(ctx, src, name, ImageImportOptions{Message: "m", Changes: []string{"CMD a"}, Platform: arm}))
				},
				func(ctx context.Context, c *moby.Client) error {
					src := moby.ImageImportSource{Source: strings.NewReader("tar"), SourceName: "-"}
					return closing(c.ImageImport(ctx, src, name, moby.ImageImportOptions{Message: "m", Changes: []string{"CMD a"}, Platform: arm}))
				}},
			pair{"inspect " + name,
				func(ctx context.Context, c *Client) error {
					return drop(c.ImageInspect(ctx, name, ImageInspectOptions{Platform: &arm}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return drop(c.ImageInspect(ctx, name, moby.ImageInspectWithPlatform(&arm)))
				}},
			pair{"rmi " + name,
				func(ctx context.Context, c *Client) error {
					return drop(c.ImageRemove(ctx, name, ImageRemoveOptions{Force: true, Platforms: []ocispec.Platform{arm, amd, arm}}))
				},
				func(ctx context.Context, c *moby.Client) error {
					return drop(c.ImageRemove(ctx, name, moby.ImageRemoveOptions{Force: true, Platforms: []ocispec.Platform{arm, amd, arm}}))
				}},
		)
	}
	return append(out,
		pair{"images",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImageList(ctx, ImageListOptions{All: true, Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ImageList(ctx, moby.ImageListOptions{All: true, Filters: moby.Filters(thing)}))
			}},
		pair{"pull of two platforms",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImagePull(ctx, "a", ImagePullOptions{Platforms: []ocispec.Platform{arm, amd}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ImagePull(ctx, "a", moby.ImagePullOptions{Platforms: []ocispec.Platform{arm, amd}}))
			}},
		pair{"inspect without platform",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImageInspect(ctx, "a", ImageInspectOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error { return drop(c.ImageInspect(ctx, "a")) }},
		pair{"history",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImageHistory(ctx, "a", ImageHistoryOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error { return drop(c.ImageHistory(ctx, "a")) }},
		pair{"history of a platform",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImageHistory(ctx, "a", ImageHistoryOptions{Platform: &arm}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ImageHistory(ctx, "a", moby.ImageHistoryWithPlatform(arm)))
			}},
		pair{"rmi without anything",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImageRemove(ctx, "a", ImageRemoveOptions{PruneChildren: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ImageRemove(ctx, "a", moby.ImageRemoveOptions{PruneChildren: true}))
			}},
		pair{"load",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImageLoad(ctx, strings.NewReader("tar"), ImageLoadOptions{Quiet: true, Platforms: []ocispec.Platform{arm, amd}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ImageLoad(ctx, strings.NewReader("tar"), moby.ImageLoadWithQuiet(true), moby.ImageLoadWithPlatforms(arm, amd)))
			}},
		pair{"load all",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImageLoad(ctx, io.MultiReader(strings.NewReader("tar")), ImageLoadOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ImageLoad(ctx, io.MultiReader(strings.NewReader("tar"))))
			}},
		pair{"save",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImageSave(ctx, []string{"a", "b:c"}, ImageSaveOptions{Platforms: []ocispec.Platform{arm}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ImageSave(ctx, []string{"a", "b:c"}, moby.ImageSaveWithPlatforms(arm)))
			}},
		pair{"save all platforms",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImageSave(ctx, []string{"a"}, ImageSaveOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error { return closing(c.ImageSave(ctx, []string{"a"})) }},
		pair{"import of a URL",
			func(ctx context.Context, c *Client) error {
				return closing(c.ImageImport(ctx, ImageImportSource{SourceName: "http://h/x.tar"}, "", ImageImportOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ImageImport(ctx, moby.ImageImportSource{SourceName: "http://h/x.tar"}, "", moby.ImageImportOptions{}))
			}},
		pair{"prune images",
			func(ctx context.Context, c *Client) error {
				return drop(c.ImagePrune(ctx, ImagePruneOptions{Filters: Filters{}.Add("dangling", "true")}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ImagePrune(ctx, moby.ImagePruneOptions{Filters: moby.Filters{}.Add("dangling", "true")}))
			}},
	)
}
