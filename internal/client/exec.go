package client

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/errs"
)

// ConsoleSize is the size of a terminal; zero leaves it to the daemon.
type ConsoleSize struct {
	Height, Width uint
}

// of gives the form that the API has for a size, nil for none.
func (s ConsoleSize) of(tty bool) (*[2]uint, error) {
	if s == (ConsoleSize{}) {
		return nil, nil
	}
	if !tty {
		return nil, errs.New(errs.InvalidArgument, "console size is only supported when TTY is enabled")
	}
	return &[2]uint{s.Height, s.Width}, nil
}

// ExecCreateOptions describes a command. What is empty is as in the container.
type ExecCreateOptions struct {
	User                                    string
	Privileged, TTY                         bool
	ConsoleSize                             ConsoleSize // only with TTY
	AttachStdin, AttachStdout, AttachStderr bool
	DetachKeys                              string
	Env                                     []string
	WorkingDir                              string
	Cmd                                     []string
}

// ExecCreateResult is a command that is to be started.
type ExecCreateResult struct {
	ID string
}

// ExecCreate prepares a command in a container.
func (c *Client) ExecCreate(ctx context.Context, name string, o ExecCreateOptions) (ExecCreateResult, error) {
	r, err := containerRequest(http.MethodPost, name, "/exec")
	if err != nil {
		return ExecCreateResult{}, err
	}
	size, err := o.ConsoleSize.of(o.TTY)
	if err != nil {
		return ExecCreateResult{}, err
	}
	r.body = container.ExecCreateRequest{
		User: o.User, Privileged: o.Privileged, Tty: o.TTY, ConsoleSize: size,
		AttachStdin: o.AttachStdin, AttachStdout: o.AttachStdout, AttachStderr: o.AttachStderr,
		DetachKeys: o.DetachKeys, Env: o.Env, WorkingDir: o.WorkingDir, Cmd: o.Cmd,
	}
	e, err := call[container.ExecCreateResponse](ctx, c, r)
	return ExecCreateResult{ID: e.ID}, err
}

// ExecStartOptions tells how a command is started. TTY must be as in its
// creation.
type ExecStartOptions struct {
	Detach, TTY bool
	ConsoleSize ConsoleSize // only with TTY
}

// ExecStart starts a command without its streams.
func (c *Client) ExecStart(ctx context.Context, id string, o ExecStartOptions) error {
	r, err := startRequest(id, o)
	if err != nil {
		return err
	}
	return c.order(ctx, r)
}

// ExecAttachOptions tells how a command is started, as ExecStartOptions does.
type ExecAttachOptions struct {
	TTY         bool
	ConsoleSize ConsoleSize // only with TTY
}

// ExecAttach starts a command and connects to its streams, which are as those
// of ContainerAttach. The caller closes the connection.
func (c *Client) ExecAttach(ctx context.Context, id string, o ExecAttachOptions) (HijackedResponse, error) {
	r, err := startRequest(id, ExecStartOptions{TTY: o.TTY, ConsoleSize: o.ConsoleSize})
	if err != nil {
		return HijackedResponse{}, err
	}
	return c.hijack(ctx, r)
}

func startRequest(id string, o ExecStartOptions) (request, error) {
	size, err := o.ConsoleSize.of(o.TTY)
	return request{
		method: http.MethodPost, path: "/exec/" + id + "/start",
		body: container.ExecStartRequest{Detach: o.Detach, Tty: o.TTY, ConsoleSize: size},
	}, err
}

// ExecResizeOptions is the size of a terminal.
type ExecResizeOptions = ContainerResizeOptions

// ExecResize changes the size of a command's terminal.
func (c *Client) ExecResize(ctx context.Context, id string, o ExecResizeOptions) error {
	id, err := trimID("exec", id)
	if err != nil {
		return err
	}
	return c.order(ctx, request{method: http.MethodPost, path: "/exec/" + id + "/resize", query: o.params()})
}

// ExecInspectResult tells how a command has ended; ExitCode is 0 while it runs.
type ExecInspectResult struct {
	ExitCode int
}

// ExecInspect asks how a command has ended.
func (c *Client) ExecInspect(ctx context.Context, id string) (ExecInspectResult, error) {
	e, err := call[container.ExecInspectResponse](ctx, c, request{method: http.MethodGet, path: "/exec/" + id + "/json"})
	if e.ExitCode == nil {
		return ExecInspectResult{}, err
	}
	return ExecInspectResult{ExitCode: *e.ExitCode}, err
}
