package client

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/moby/moby/api/types/container"
	moby "github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func containerPairs() []pair {
	host := &container.HostConfig{CapAdd: []string{"net_admin", "CAP_SYS_TIME", "NET_ADMIN", "all"}, Privileged: true}
	cfg := &container.Config{Image: "alpine", Cmd: []string{"a<b", "&"}}
	return []pair{
		{"create",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerCreate(ctx, ContainerCreateOptions{Config: cfg, HostConfig: host, Platform: &arm, Name: "n"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerCreate(ctx, moby.ContainerCreateOptions{Config: cfg, HostConfig: host, Platform: &arm, Name: "n"}))
			}},
		{"create little",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerCreate(ctx, ContainerCreateOptions{Config: cfg, Platform: &ocispec.Platform{}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerCreate(ctx, moby.ContainerCreateOptions{Config: cfg, Platform: &ocispec.Platform{}}))
			}},
		{"ps",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerList(ctx, ContainerListOptions{All: true, Size: true, Limit: 3, Filters: thing}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerList(ctx, moby.ContainerListOptions{All: true, Size: true, Limit: 3, Filters: moby.Filters(thing)}))
			}},
		{"ps -n -1",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerList(ctx, ContainerListOptions{Limit: -1}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerList(ctx, moby.ContainerListOptions{Limit: -1}))
			}},
		{"inspect",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerInspect(ctx, " a/b ", ContainerInspectOptions{Size: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerInspect(ctx, " a/b ", moby.ContainerInspectOptions{Size: true}))
			}},
		{"inspect odd names",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerInspect(ctx, "../ä?b#c%d e", ContainerInspectOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerInspect(ctx, "../ä?b#c%d e", moby.ContainerInspectOptions{}))
			}},
		{"inspect nothing",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerInspect(ctx, " ", ContainerInspectOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerInspect(ctx, " ", moby.ContainerInspectOptions{}))
			}},
		{"start",
			func(ctx context.Context, c *Client) error {
				return c.ContainerStart(ctx, "x", ContainerStartOptions{CheckpointID: "c", CheckpointDir: "/d"})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerStart(ctx, "x", moby.ContainerStartOptions{CheckpointID: "c", CheckpointDir: "/d"}))
			}},
		{"checkpoint create",
			func(ctx context.Context, c *Client) error {
				return c.CheckpointCreate(ctx, "x", CheckpointCreateOptions{CheckpointID: "c", CheckpointDir: "/d", Exit: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.CheckpointCreate(ctx, "x", moby.CheckpointCreateOptions{CheckpointID: "c", CheckpointDir: "/d", Exit: true}))
			}},
		{"checkpoint ls",
			func(ctx context.Context, c *Client) error {
				return drop(c.CheckpointList(ctx, "x", CheckpointListOptions{CheckpointDir: "/d"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.CheckpointList(ctx, "x", moby.CheckpointListOptions{CheckpointDir: "/d"}))
			}},
		{"checkpoint rm",
			func(ctx context.Context, c *Client) error {
				return c.CheckpointRemove(ctx, "x", CheckpointRemoveOptions{CheckpointID: "c", CheckpointDir: "/d"})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.CheckpointRemove(ctx, "x", moby.CheckpointRemoveOptions{CheckpointID: "c", CheckpointDir: "/d"}))
			}},
		{"stop",
			func(ctx context.Context, c *Client) error {
				return c.ContainerStop(ctx, "x", ContainerStopOptions{Signal: "INT", Timeout: &five})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerStop(ctx, "x", moby.ContainerStopOptions{Signal: "INT", Timeout: &five}))
			}},
		{"restart",
			func(ctx context.Context, c *Client) error {
				return c.ContainerRestart(ctx, "x", ContainerRestartOptions{})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerRestart(ctx, "x", moby.ContainerRestartOptions{}))
			}},
		{"kill",
			func(ctx context.Context, c *Client) error {
				return c.ContainerKill(ctx, "x", ContainerKillOptions{Signal: "TERM"})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerKill(ctx, "x", moby.ContainerKillOptions{Signal: "TERM"}))
			}},
		{"pause",
			func(ctx context.Context, c *Client) error { return c.ContainerPause(ctx, "x") },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerPause(ctx, "x", moby.ContainerPauseOptions{}))
			}},
		{"unpause",
			func(ctx context.Context, c *Client) error { return c.ContainerUnpause(ctx, "x") },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerUnpause(ctx, "x", moby.ContainerUnpauseOptions{}))
			}},
		{"rename",
			func(ctx context.Context, c *Client) error {
				return c.ContainerRename(ctx, "x", ContainerRenameOptions{NewName: " y "})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerRename(ctx, "x", moby.ContainerRenameOptions{NewName: " y "}))
			}},
		{"rename to nothing",
			func(ctx context.Context, c *Client) error {
				return c.ContainerRename(ctx, "x", ContainerRenameOptions{NewName: "/"})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerRename(ctx, "x", moby.ContainerRenameOptions{NewName: "/"}))
			}},
		{"resize",
			func(ctx context.Context, c *Client) error {
				return c.ContainerResize(ctx, "x", ContainerResizeOptions{Height: 0, Width: 80})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerResize(ctx, "x", moby.ContainerResizeOptions{Height: 0, Width: 80}))
			}},
		{"rm",
			func(ctx context.Context, c *Client) error {
				return c.ContainerRemove(ctx, "x", ContainerRemoveOptions{RemoveVolumes: true, RemoveLinks: true, Force: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerRemove(ctx, "x", moby.ContainerRemoveOptions{RemoveVolumes: true, RemoveLinks: true, Force: true}))
			}},
		{"update",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerUpdate(ctx, "x", ContainerUpdateOptions{
					Resources: container.Resources{Memory: 1}, RestartPolicy: container.RestartPolicy{Name: "no"}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerUpdate(ctx, "x", moby.ContainerUpdateOptions{
					Resources: &container.Resources{Memory: 1}, RestartPolicy: &container.RestartPolicy{Name: "no"}}))
			}},
		{"wait",
			func(ctx context.Context, c *Client) error {
				r := c.ContainerWait(ctx, "x", ContainerWaitOptions{Condition: container.WaitConditionRemoved})
				select {
				case <-r.Result:
					return nil
				case err := <-r.Error:
					return err
				}
			},
			func(ctx context.Context, c *moby.Client) error {
				r := c.ContainerWait(ctx, "x", moby.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
				select {
				case <-r.Result:
					return nil
				case err := <-r.Error:
					return err
				}
			}},
		{"commit",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerCommit(ctx, "x", ContainerCommitOptions{
					Reference: "a/b", Comment: "c", Author: "me", Changes: []string{"CMD a", "ENV b=c"}, NoPause: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerCommit(ctx, "x", moby.ContainerCommitOptions{
					Reference: "a/b", Comment: "c", Author: "me", Changes: []string{"CMD a", "ENV b=c"}, NoPause: true}))
			}},
		{"commit without a name",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerCommit(ctx, "x", ContainerCommitOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerCommit(ctx, "x", moby.ContainerCommitOptions{}))
			}},
		{"logs",
			func(ctx context.Context, c *Client) error {
				return closing(c.ContainerLogs(ctx, "x", ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Since: "2013-01-02T13:23:37Z",
					Until: "1500000000", Timestamps: true, Follow: true, Details: true, Tail: "5"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ContainerLogs(ctx, "x", moby.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Since: "2013-01-02T13:23:37Z",
					Until: "1500000000", Timestamps: true, Follow: true, Details: true, Tail: "5"}))
			}},
		{"logs of all times",
			func(ctx context.Context, c *Client) error {
				return closing(c.ContainerLogs(ctx, "x", ContainerLogsOptions{Tail: "all", Since: "nonsense"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ContainerLogs(ctx, "x", moby.ContainerLogsOptions{Tail: "all", Since: "nonsense"}))
			}},
		{"stats",
			func(ctx context.Context, c *Client) error {
				return closing(c.ContainerStats(ctx, "x", ContainerStatsOptions{Stream: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				r, err := c.ContainerStats(ctx, "x", moby.ContainerStatsOptions{Stream: true})
				return closing(r.Body, err)
			}},
		{"stats once",
			func(ctx context.Context, c *Client) error {
				return closing(c.ContainerStats(ctx, "x", ContainerStatsOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				r, err := c.ContainerStats(ctx, "x", moby.ContainerStatsOptions{IncludePreviousSample: true})
				return closing(r.Body, err)
			}},
		{"top",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerTop(ctx, "x", ContainerTopOptions{Arguments: []string{"-o", "pid"}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerTop(ctx, "x", moby.ContainerTopOptions{Arguments: []string{"-o", "pid"}}))
			}},
		{"diff",
			func(ctx context.Context, c *Client) error { return drop(c.ContainerDiff(ctx, "x")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerDiff(ctx, "x", moby.ContainerDiffOptions{}))
			}},
		{"export",
			func(ctx context.Context, c *Client) error { return closing(c.ContainerExport(ctx, "x")) },
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ContainerExport(ctx, "x", moby.ContainerExportOptions{}))
			}},
		{"stat",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerStatPath(ctx, "x", ContainerStatPathOptions{Path: "/a b"}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerStatPath(ctx, "x", moby.ContainerStatPathOptions{Path: "/a b"}))
			}},
		{"cp out",
			func(ctx context.Context, c *Client) error {
				r, err := c.CopyFromContainer(ctx, "x", CopyFromContainerOptions{SourcePath: ""})
				return closing(r.Content, err)
			},
			func(ctx context.Context, c *moby.Client) error {
				r, err := c.CopyFromContainer(ctx, "x", moby.CopyFromContainerOptions{SourcePath: ""})
				return closing(r.Content, err)
			}},
		{"cp in",
			func(ctx context.Context, c *Client) error {
				return c.CopyToContainer(ctx, "x", CopyToContainerOptions{DestinationPath: "/d", Content: bytes.NewBufferString("tar"), CopyUIDGID: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.CopyToContainer(ctx, "x", moby.CopyToContainerOptions{DestinationPath: "/d", Content: bytes.NewBufferString("tar"), CopyUIDGID: true}))
			}},
		{"cp in from a stream",
			func(ctx context.Context, c *Client) error {
				return c.CopyToContainer(ctx, "x", CopyToContainerOptions{DestinationPath: "/d", Content: io.MultiReader(strings.NewReader("tar"))})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.CopyToContainer(ctx, "x", moby.CopyToContainerOptions{DestinationPath: "/d", Content: io.MultiReader(strings.NewReader("tar"))}))
			}},
	}
}
