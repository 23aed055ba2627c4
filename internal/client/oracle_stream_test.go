package client

import (
	"context"

	moby "github.com/moby/moby/client"
)

func streamPairs() []pair {
	return []pair{
		{"attach",
			func(ctx context.Context, c *Client) error {
				h, err := c.ContainerAttach(ctx, "x", ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true, Logs: true, DetachKeys: "a"})
				if err == nil {
					h.Close()
				}
				return err
			},
			func(ctx context.Context, c *moby.Client) error {
				h, err := c.ContainerAttach(ctx, "x", moby.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true, Logs: true, DetachKeys: "a"})
				if err == nil {
					h.Close()
				}
				return err
			}},
		{"exec",
			func(ctx context.Context, c *Client) error {
				return drop(c.ExecCreate(ctx, "x", ExecCreateOptions{User: "u", TTY: true, ConsoleSize: ConsoleSize{1, 2}, AttachStdin: true, AttachStdout: true,
					AttachStderr: true, DetachKeys: "a", Env: []string{"a=b"}, WorkingDir: "/", Cmd: []string{"c"}, Privileged: true}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecCreate(ctx, "x", moby.ExecCreateOptions{User: "u", TTY: true, ConsoleSize: moby.ConsoleSize{Height: 1, Width: 2}, AttachStdin: true,
					AttachStdout: true, AttachStderr: true, DetachKeys: "a", Env: []string{"a=b"}, WorkingDir: "/", Cmd: []string{"c"}, Privileged: true}))
			}},
		{"exec with a size and no terminal",
			func(ctx context.Context, c *Client) error {
				return drop(c.ExecCreate(ctx, "x", ExecCreateOptions{ConsoleSize: ConsoleSize{1, 2}}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecCreate(ctx, "x", moby.ExecCreateOptions{ConsoleSize: moby.ConsoleSize{Height: 1, Width: 2}}))
			}},
		{"exec start",
			func(ctx context.Context, c *Client) error {
				return c.ExecStart(ctx, "e", ExecStartOptions{Detach: true})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecStart(ctx, "e", moby.ExecStartOptions{Detach: true}))
			}},
		{"exec attach",
			func(ctx context.Context, c *Client) error {
				h, err := c.ExecAttach(ctx, "e", ExecAttachOptions{TTY: true, ConsoleSize: ConsoleSize{1, 2}})
				if err == nil {
					h.Close()
				}
				return err
			},
			func(ctx context.Context, c *moby.Client) error {
				h, err := c.ExecAttach(ctx, "e", moby.ExecAttachOptions{TTY: true, ConsoleSize: moby.ConsoleSize{Height: 1, Width: 2}})
				if err == nil {
					h.Close()
				}
				return err
			}},
		{"exec resize",
			func(ctx context.Context, c *Client) error {
				return c.ExecResize(ctx, "e", ExecResizeOptions{Height: 1, Width: 2})
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecResize(ctx, "e", moby.ExecResizeOptions{Height: 1, Width: 2}))
			}},
		{"exec inspect",
			func(ctx context.Context, c *Client) error { return drop(c.ExecInspect(ctx, "e")) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecInspect(ctx, "e", moby.ExecInspectOptions{}))
			}},
	}
}
