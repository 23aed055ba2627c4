package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
)

// ContainerAttachOptions selects the streams. Logs asks for what was written
// before, too; DetachKeys is for the daemon, "" for its default.
type ContainerAttachOptions struct {
	Stream, Stdin, Stdout, Stderr, Logs bool
	DetachKeys                          string
}

// ContainerAttach connects to the streams of a container. Without a terminal,
// output and errors come interleaved as package stdcopy reads them. The caller
// closes the connection.
func (c *Client) ContainerAttach(ctx context.Context, name string, o ContainerAttachOptions) (HijackedResponse, error) {
	r, err := containerRequest(http.MethodPost, name, "/attach")
	if err != nil {
		return HijackedResponse{}, err
	}
	r.header = http.Header{"Content-Type": {"text/plain"}}
	r.query.flag("stream", o.Stream)
	r.query.flag("stdin", o.Stdin)
	r.query.flag("stdout", o.Stdout)
	r.query.flag("stderr", o.Stderr)
	r.query.flag("logs", o.Logs)
	r.query.text("detachKeys", o.DetachKeys)
	return c.hijack(ctx, r)
}

// ContainerLogsOptions selects lines. Since and Until are times, or durations
// before now; Tail is a number of lines, "all" or "".
type ContainerLogsOptions struct {
	ShowStdout, ShowStderr      bool
	Since, Until, Tail          string
	Timestamps, Follow, Details bool
}

// ContainerLogs gives what a container has written, as ContainerAttach does.
// The caller closes it.
func (c *Client) ContainerLogs(ctx context.Context, name string, o ContainerLogsOptions) (io.ReadCloser, error) {
	r, err := containerRequest(http.MethodGet, name, "/logs")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if err := r.query.time("since", o.Since, now); err != nil {
		return nil, fmt.Errorf(`invalid value for "since": %w`, err)
	}
	if err := r.query.time("until", o.Until, now); err != nil {
		return nil, fmt.Errorf(`invalid value for "until": %w`, err)
	}
	if o.Tail != "all" {
		r.query.text("tail", o.Tail)
	}
	r.query.flag("stdout", o.ShowStdout)
	r.query.flag("stderr", o.ShowStderr)
	r.query.flag("timestamps", o.Timestamps)
	r.query.flag("details", o.Details)
	r.query.flag("follow", o.Follow)
	return c.stream(ctx, r)
}

// ContainerStatsOptions tells whether samples keep coming. The only sample of
// the other case takes the daemon a second, since it has the one before in it.
type ContainerStatsOptions struct {
	Stream bool
}

// ContainerStats gives samples of what a container uses, as JSON. The caller
// closes it.
func (c *Client) ContainerStats(ctx context.Context, name string, o ContainerStatsOptions) (io.ReadCloser, error) {
	r, err := containerRequest(http.MethodGet, name, "/stats")
	if err != nil {
		return nil, err
	}
	r.query.text("stream", strconv.FormatBool(o.Stream))
	return c.stream(ctx, r)
}

// ContainerTopOptions has the arguments of ps.
type ContainerTopOptions struct {
	Arguments []string
}

// ContainerTopResult is a table of processes.
type ContainerTopResult struct {
	Titles    []string
	Processes [][]string
}

// ContainerTop lists the processes of a container.
func (c *Client) ContainerTop(ctx context.Context, name string, o ContainerTopOptions) (ContainerTopResult, error) {
	r, err := containerRequest(http.MethodGet, name, "/top")
	if err != nil {
		return ContainerTopResult{}, err
	}
	r.query.text("ps_args", strings.Join(o.Arguments, " "))
	t, err := call[container.TopResponse](ctx, c, r)
	return ContainerTopResult{Titles: t.Titles, Processes: t.Processes}, err
}

// ContainerDiffResult is a list of files.
type ContainerDiffResult struct {
	Changes []container.FilesystemChange
}

// ContainerDiff tells which files differ from the image's.
func (c *Client) ContainerDiff(ctx context.Context, name string) (ContainerDiffResult, error) {
	r, err := containerRequest(http.MethodGet, name, "/changes")
	if err != nil {
		return ContainerDiffResult{}, err
	}
	changes, err := call[[]container.FilesystemChange](ctx, c, r)
	return ContainerDiffResult{Changes: changes}, err
}

// ContainerExport gives the file system of a container as a tar archive. The
// caller closes it.
func (c *Client) ContainerExport(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := containerRequest(http.MethodGet, name, "/export")
	if err != nil {
		return nil, err
	}
	return c.stream(ctx, r)
}

// ContainerStatPathOptions has a path in the container.
type ContainerStatPathOptions struct {
	Path string
}

// ContainerStatPathResult describes what is at the path, a link itself.
type ContainerStatPathResult struct {
	Stat container.PathStat
}

// ContainerStatPath describes a file of a container. NotFound is said of the
// file as of the container; there are no words to tell them apart.
func (c *Client) ContainerStatPath(ctx context.Context, name string, o ContainerStatPathOptions) (ContainerStatPathResult, error) {
	r, err := containerRequest(http.MethodHead, name, "/archive")
	if err != nil {
		return ContainerStatPathResult{}, err
	}
	r.query["path"] = []string{o.Path}
	res, err := c.do(ctx, r)
	if err != nil {
		return ContainerStatPathResult{}, err
	}
	drain(res)
	stat, err := pathStat(res.Header)
	return ContainerStatPathResult{Stat: stat}, err
}

// CopyFromContainerOptions has a path in the container.
type CopyFromContainerOptions struct {
	SourcePath string
}

// CopyFromContainerResult is a tar archive, which the caller closes, and what
// it was made of.
type CopyFromContainerResult struct {
	Content io.ReadCloser
	Stat    container.PathStat
}

// CopyFromContainer gives a file or a directory of a container.
func (c *Client) CopyFromContainer(ctx context.Context, name string, o CopyFromContainerOptions) (CopyFromContainerResult, error) {
	r, err := containerRequest(http.MethodGet, name, "/archive")
	if err != nil {
		return CopyFromContainerResult{}, err
	}
	r.query["path"] = []string{o.SourcePath}
	res, err := c.do(ctx, r)
	if err != nil {
		return CopyFromContainerResult{}, err
	}
	stat, err := pathStat(res.Header)
	if err != nil {
		_ = res.Body.Close() // the archive may be long: it is not drained
		return CopyFromContainerResult{}, fmt.Errorf("unable to get resource stat from response: %w", err)
	}
	return CopyFromContainerResult{Content: res.Body, Stat: stat}, nil
}

func pathStat(h http.Header) (stat container.PathStat, err error) {
	doc := base64.NewDecoder(base64.StdEncoding, strings.NewReader(h.Get("X-Docker-Container-Path-Stat")))
	if err := json.NewDecoder(doc).Decode(&stat); err != nil {
		return stat, fmt.Errorf("unable to decode container path stat header: %w", err)
	}
	return stat, nil
}

// CopyToContainerOptions has a tar archive and the directory in the container
// that it is unpacked in. CopyUIDGID keeps the owners in it.
type CopyToContainerOptions struct {
	DestinationPath string
	Content         io.Reader
	CopyUIDGID      bool
}

// CopyToContainer unpacks an archive in a container. A directory is not
// replaced by a file, nor the other way round.
func (c *Client) CopyToContainer(ctx context.Context, name string, o CopyToContainerOptions) error {
	r, err := containerRequest(http.MethodPut, name, "/archive")
	if err != nil {
		return err
	}
	r.query["path"] = []string{o.DestinationPath}
	r.query["noOverwriteDirNonDir"] = []string{"true"}
	if o.CopyUIDGID {
		r.query["copyUIDGID"] = []string{"true"}
	}
	r.body = o.Content
	return c.order(ctx, r)
}
