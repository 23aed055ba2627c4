package client

import (
	"context"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/checkpoint"

	"github.com/gantry-run/gantry/internal/errs"
)

// CheckpointCreateOptions describe a checkpoint. Exit says that the container ends
// with it.
type CheckpointCreateOptions struct {
	CheckpointID  string
	CheckpointDir string // on the daemon's machine; "" is the container's own
	Exit          bool
}

// CheckpointCreate writes a running container to files.
func (c *Client) CheckpointCreate(ctx context.Context, container string, o CheckpointCreateOptions) error {
	r, err := containerRequest(http.MethodPost, container, "/checkpoints")
	if err != nil {
		return err
	}
	r.body = checkpoint.CreateRequest{CheckpointID: o.CheckpointID, CheckpointDir: o.CheckpointDir, Exit: o.Exit}
	return c.order(ctx, r)
}

// CheckpointListOptions say where to look.
type CheckpointListOptions struct {
	CheckpointDir string
}

// CheckpointListResult is a list of checkpoints.
type CheckpointListResult struct {
	Items []checkpoint.Summary
}

// CheckpointList lists the checkpoints of a container.
func (c *Client) CheckpointList(ctx context.Context, container string, o CheckpointListOptions) (CheckpointListResult, error) {
	r, err := containerRequest(http.MethodGet, container, "/checkpoints")
	if err != nil {
		return CheckpointListResult{}, err
	}
	r.query.text("dir", o.CheckpointDir)
	list, err := call[[]checkpoint.Summary](ctx, c, r)
	return CheckpointListResult{Items: list}, err
}

// CheckpointRemoveOptions name a checkpoint.
type CheckpointRemoveOptions struct {
	CheckpointID  string
	CheckpointDir string
}

// CheckpointRemove removes a checkpoint. A name that would be another path, of the
// container itself say, is errs.InvalidArgument.
func (c *Client) CheckpointRemove(ctx context.Context, container string, o CheckpointRemoveOptions) error {
	if id := o.CheckpointID; id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return errs.New(errs.InvalidArgument, "invalid checkpoint ID %q", id)
	}
	r, err := containerRequest(http.MethodDelete, container, "/checkpoints/"+o.CheckpointID)
	if err != nil {
		return err
	}
	r.query.text("dir", o.CheckpointDir)
	return c.order(ctx, r)
}
