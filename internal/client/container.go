package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/reference"
)

// ContainerCreateOptions describes a new container. Config must be set.
type ContainerCreateOptions struct {
	Config           *container.Config
	HostConfig       *container.HostConfig
	NetworkingConfig *network.NetworkingConfig
	Platform         *ocispec.Platform // nil: the daemon's
	Name             string            // "": the daemon finds one
}

// ContainerCreateResult is a container that was created.
type ContainerCreateResult struct {
	ID       string
	Warnings []string
}

// ContainerCreate creates a container. Capabilities are sent in one spelling,
// sorted, each once.
func (c *Client) ContainerCreate(ctx context.Context, o ContainerCreateOptions) (ContainerCreateResult, error) {
	q := params{}
	q.text("name", o.Name)
	if o.Platform != nil {
		q.text("platform", platformName(*o.Platform))
	}
	body := container.CreateRequest{Config: o.Config, NetworkingConfig: o.NetworkingConfig}
	if o.HostConfig != nil {
		host := *o.HostConfig
		host.CapAdd, host.CapDrop = normalCapabilities(host.CapAdd), normalCapabilities(host.CapDrop)
		body.HostConfig = &host
	}
	r, err := call[container.CreateResponse](ctx, c, request{method: http.MethodPost, path: "/containers/create", query: q, body: body})
	return ContainerCreateResult{ID: r.ID, Warnings: r.Warnings}, err
}

func normalCapabilities(names []string) []string {
	names = slices.Clone(names)
	for i, n := range names {
		n = strings.ToUpper(n)
		if n != "ALL" && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		names[i] = n
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ContainerListOptions selects containers: the running ones, unless All is set
// or Limit is positive, which takes those created last.
type ContainerListOptions struct {
	All, Size bool
	Limit     int
	Filters   Filters
}

// ContainerListResult is a list of containers.
type ContainerListResult struct {
	Items []container.Summary
}

// ContainerList lists containers.
func (c *Client) ContainerList(ctx context.Context, o ContainerListOptions) (ContainerListResult, error) {
	q := params{}
	q.flag("all", o.All)
	q.flag("size", o.Size)
	if o.Limit > 0 {
		q.text("limit", strconv.Itoa(o.Limit))
	}
	q.filters(o.Filters)
	items, err := call[[]container.Summary](ctx, c, request{method: http.MethodGet, path: "/containers/json", query: q})
	return ContainerListResult{Items: items}, err
}

// ContainerInspectOptions can ask for the sizes of the container's files.
type ContainerInspectOptions struct {
	Size bool
}

// ContainerInspectResult describes a container; Raw is the answer as it came.
type ContainerInspectResult struct {
	Container container.InspectResponse
	Raw       json.RawMessage
}

// ContainerInspect describes a container.
func (c *Client) ContainerInspect(ctx context.Context, name string, o ContainerInspectOptions) (ContainerInspectResult, error) {
	r, err := containerRequest(http.MethodGet, name, "/json")
	if err != nil {
		return ContainerInspectResult{}, err
	}
	r.query.flag("size", o.Size)
	desc, raw, err := inspect[container.InspectResponse](ctx, c, r)
	return ContainerInspectResult{Container: desc, Raw: raw}, err
}

// ContainerStartOptions names a checkpoint to start from, "" for none.
type ContainerStartOptions struct {
	CheckpointID, CheckpointDir string
}

// ContainerStart starts a container.
func (c *Client) ContainerStart(ctx context.Context, name string, o ContainerStartOptions) error {
	return c.containerOrder(ctx, name, "/start", params{"checkpoint": {o.CheckpointID}, "checkpoint-dir": {o.CheckpointDir}})
}

// ContainerStopOptions has what differs from the container's configuration: ""
// is its signal, nil its timeout, which is in seconds; -1 waits for ever.
type ContainerStopOptions struct {
	Signal  string
	Timeout *int
}

func (o ContainerStopOptions) params() params {
	q := params{"signal": {o.Signal}}
	if o.Timeout != nil {
		q.text("t", strconv.Itoa(*o.Timeout))
	}
	return q
}

// ContainerStop signals a container and kills it after the timeout. It returns
// when the container has stopped.
func (c *Client) ContainerStop(ctx context.Context, name string, o ContainerStopOptions) error {
	return c.containerOrder(ctx, name, "/stop", o.params())
}

// ContainerRestartOptions is how the container is stopped.
type ContainerRestartOptions = ContainerStopOptions

// ContainerRestart stops a container and starts it.
func (c *Client) ContainerRestart(ctx context.Context, name string, o ContainerRestartOptions) error {
	return c.containerOrder(ctx, name, "/restart", o.params())
}

// ContainerKillOptions names the signal, "" for SIGKILL.
type ContainerKillOptions struct {
	Signal string
}

// ContainerKill sends a signal to a container.
func (c *Client) ContainerKill(ctx context.Context, name string, o ContainerKillOptions) error {
	return c.containerOrder(ctx, name, "/kill", params{"signal": {o.Signal}})
}

// ContainerPause suspends the processes of a container.
func (c *Client) ContainerPause(ctx context.Context, name string) error {
	return c.containerOrder(ctx, name, "/pause", nil)
}

// ContainerUnpause lets the processes of a container go on.
func (c *Client) ContainerUnpause(ctx context.Context, name string) error {
	return c.containerOrder(ctx, name, "/unpause", nil)
}

// ContainerRenameOptions has the new name.
type ContainerRenameOptions struct {
	NewName string
}

// ContainerRename gives a container another name.
func (c *Client) ContainerRename(ctx context.Context, name string, o ContainerRenameOptions) error {
	newName := strings.TrimSpace(o.NewName)
	if newName == "" || newName == "/" {
		return errs.New(errs.InvalidArgument, "new name cannot be blank")
	}
	return c.containerOrder(ctx, name, "/rename", params{"name": {newName}})
}

// ContainerResizeOptions is the size of a terminal.
type ContainerResizeOptions struct {
	Height, Width uint
}

func (o ContainerResizeOptions) params() params {
	return params{"h": {strconv.FormatUint(uint64(o.Height), 10)}, "w": {strconv.FormatUint(uint64(o.Width), 10)}}
}

// ContainerResize changes the size of a container's terminal.
func (c *Client) ContainerResize(ctx context.Context, name string, o ContainerResizeOptions) error {
	return c.containerOrder(ctx, name, "/resize", o.params())
}

// ContainerRemoveOptions tells what goes with the container. Force kills it first.
type ContainerRemoveOptions struct {
	RemoveVolumes, RemoveLinks, Force bool
}

// ContainerRemove removes a container.
func (c *Client) ContainerRemove(ctx context.Context, name string, o ContainerRemoveOptions) error {
	r, err := containerRequest(http.MethodDelete, name, "")
	if err != nil {
		return err
	}
	r.query.flag("v", o.RemoveVolumes)
	r.query.flag("link", o.RemoveLinks)
	r.query.flag("force", o.Force)
	return c.order(ctx, r)
}

// ContainerUpdateOptions has the new limits and the new restart policy. What is
// zero stays.
type ContainerUpdateOptions struct {
	Resources     container.Resources
	RestartPolicy container.RestartPolicy
	Annotations   map[string]string // only those that Gantry itself obeys; Docker ignores them
}

// ContainerUpdateResult is what the daemon thinks of the change.
type ContainerUpdateResult struct {
	Warnings []string
}

// ContainerUpdate changes the limits and the restart policy of a container.
func (c *Client) ContainerUpdate(ctx context.Context, name string, o ContainerUpdateOptions) (ContainerUpdateResult, error) {
	r, err := containerRequest(http.MethodPost, name, "/update")
	if err != nil {
		return ContainerUpdateResult{}, err
	}
	r.body = struct {
		container.UpdateConfig
		Annotations map[string]string `json:",omitempty"`
	}{container.UpdateConfig{Resources: o.Resources, RestartPolicy: o.RestartPolicy}, o.Annotations}
	u, err := call[container.UpdateResponse](ctx, c, r)
	return ContainerUpdateResult{Warnings: u.Warnings}, err
}

// ContainerWaitOptions tells what to wait for, "" for a container that does not
// run.
type ContainerWaitOptions struct {
	Condition container.WaitCondition
}

// ContainerWaitResult gives one value, in one of its channels.
type ContainerWaitResult struct {
	Result <-chan container.WaitResponse
	Error  <-chan error
}

// ContainerWait waits for a container. It returns when the daemon has begun to
// wait, so that a start after it cannot be missed. Ending ctx ends the wait.
func (c *Client) ContainerWait(ctx context.Context, name string, o ContainerWaitOptions) ContainerWaitResult {
	result := make(chan container.WaitResponse, 1)
	failed := make(chan error, 1)
	body, err := c.openWait(ctx, name, o)
	if err != nil {
		failed <- err
		return ContainerWaitResult{Result: result, Error: failed}
	}
	go func() {
		defer body.Close()
		if r, err := readWait(body); err != nil {
			failed <- err
		} else {
			result <- r
		}
	}()
	return ContainerWaitResult{Result: result, Error: failed}
}

func (c *Client) openWait(ctx context.Context, name string, o ContainerWaitOptions) (io.ReadCloser, error) {
	r, err := containerRequest(http.MethodPost, name, "/wait")
	if err != nil {
		return nil, err
	}
	r.query.text("condition", string(o.Condition))
	return c.stream(ctx, r)
}

// readWait takes what is no JSON for the text of an error: the status was sent
// before the daemon knew of it.
func readWait(body io.Reader) (r container.WaitResponse, err error) {
	const maxText = 2 << 10
	var text strings.Builder
	tee := io.TeeReader(body, &text)
	err = json.NewDecoder(tee).Decode(&r)
	if errors.As(err, new(*json.SyntaxError)) {
		_, _ = io.CopyN(io.Discard, tee, maxText) // what came is text enough
		err = errors.New(text.String())
	}
	return r, err
}

// ContainerCommitOptions describes the image. Reference is its name, "" for none.
type ContainerCommitOptions struct {
	Reference, Comment, Author string
	Changes                    []string // instructions of a Dockerfile
	NoPause                    bool
}

// ContainerCommitResult is the image that was made.
type ContainerCommitResult struct {
	ID string
}

// ContainerCommit makes an image from a container.
func (c *Client) ContainerCommit(ctx context.Context, name string, o ContainerCommitOptions) (ContainerCommitResult, error) {
	name, err := trimID("container", name)
	if err != nil {
		return ContainerCommitResult{}, err
	}
	q := params{"container": {name}}
	if o.Reference != "" {
		ref, err := reference.Parse(o.Reference)
		if err != nil {
			return ContainerCommitResult{}, err
		}
		if err := q.target(ref); err != nil {
			return ContainerCommitResult{}, err
		}
	}
	q.text("comment", o.Comment)
	q.text("author", o.Author)
	q["changes"] = o.Changes
	if o.NoPause {
		q.text("pause", "0")
	}
	r, err := call[container.CommitResponse](ctx, c, request{method: http.MethodPost, path: "/commit", query: q})
	return ContainerCommitResult{ID: r.ID}, err
}

// containerRequest starts a request about a container.
func containerRequest(method, name, verb string) (request, error) {
	name, err := trimID("container", name)
	return request{method: method, path: "/containers/" + name + verb, query: params{}}, err
}

// containerOrder has a container do something. Empty parameters are not sent.
func (c *Client) containerOrder(ctx context.Context, name, verb string, q params) error {
	r, err := containerRequest(http.MethodPost, name, verb)
	if err != nil {
		return err
	}
	for k, v := range q {
		r.query.text(k, v[0])
	}
	return c.order(ctx, r)
}
