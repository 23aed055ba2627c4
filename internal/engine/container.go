package engine

import (
	"context"
	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"io"
	"net"
	"time"
)

// ContainerCreate is the decoded POST /containers/create.
type ContainerCreate struct {
	Name     string
	Platform *ocispec.Platform // nil: the host's
	Config   *container.Config
	Host     *container.HostConfig
	Network  *networktypes.NetworkingConfig
}

// ContainerInspect is GET /containers/{id}/json.
type ContainerInspect struct {
	container.InspectResponse
	MacAddress networktypes.HardwareAddr // that was asked for on the main network, if any
}

// ContainerList are the options of GET /containers/json.
type ContainerList struct {
	All     bool
	Limit   int // 0: no limit
	Size    bool
	Filters Filters
}

// ContainerLogs are the options of GET /containers/{id}/logs.
type ContainerLogs struct {
	Stdout, Stderr bool
	Follow         bool
	Timestamps     bool
	Details        bool
	Tail           int       // -1: all
	Since, Until   time.Time // zero: unbounded
}

// Attach are the options of POST /containers/{id}/attach.
type Attach struct {
	Stream                bool
	Stdin, Stdout, Stderr bool
	Logs                  bool
	DetachKeys            string // "": ctrl-p,ctrl-q
}

// WriteArchive are the options of PUT /containers/{id}/archive.
type WriteArchive struct {
	NoOverwriteDirNonDir bool // no directory replaces something else, and the other way round
	CopyUIDGID           bool // the files get the container's user as their owner
}

// ContainerCommit is the decoded POST /commit.
type ContainerCommit struct {
	Ref, Author, Comment string
	Changes              []string
	NoPause              bool
	Config               *container.Config // nil: the container's
}

// Conn is a hijacked connection. Read gives what the client sends, CloseWrite
// ends our side. Output without a TTY is written in stdcopy frames.
type Conn interface {
	net.Conn
	CloseWrite() error
	// AwaitHangup is for after the end of the client's input. It returns true when
	// the client has gone for good: one that has only ended its input still wants
	// output. It returns false if it cannot tell, and something after Close.
	AwaitHangup() bool
}

// Checkpoint names a checkpoint of a container.
type Checkpoint struct {
	Name string
	Dir  string // where it is; "" for the container's own directory of checkpoints
}

// Containers is the container noun. id is a full ID, a unique ID prefix or a
// name. Errors carry errs kinds and Docker's message text.
type Containers interface {
	Create(ctx context.Context, req ContainerCreate) (container.CreateResponse, error)
	Start(ctx context.Context, id string) error
	// Restore is Start with the processes of a checkpoint.
	Restore(ctx context.Context, id string, from Checkpoint) error
	// Checkpoint writes a running container to files. Unless it is left running, it
	// has ended when Checkpoint returns.
	Checkpoint(ctx context.Context, id string, to Checkpoint, leaveRunning bool) error
	// Checkpoints lists the checkpoints in a directory, "" for the container's own.
	Checkpoints(ctx context.Context, id, dir string) ([]checkpoint.Summary, error)
	RemoveCheckpoint(ctx context.Context, id string, c Checkpoint) error
	// Stop's signal "" is the container's stop signal; nil timeout (seconds) its stop timeout.
	Stop(ctx context.Context, id, signal string, timeout *int) error
	Restart(ctx context.Context, id, signal string, timeout *int) error
	Kill(ctx context.Context, id, signal string) error
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	Remove(ctx context.Context, id string, force, volumes bool) error
	// Unlink removes the link OWNER/ALIAS.
	Unlink(ctx context.Context, name string) error
	// Wait returns at once with a channel that gives one answer.
	Wait(ctx context.Context, id string, cond container.WaitCondition) (<-chan container.WaitResponse, error)
	Inspect(ctx context.Context, id string, size bool) (ContainerInspect, error)
	List(ctx context.Context, opts ContainerList) ([]container.Summary, error)
	// Logs writes to the stream that open returns; open is called once, when
	// nothing can fail any more with a status. tty tells the framing.
	Logs(ctx context.Context, id string, opts ContainerLogs, open func(tty bool) io.Writer) error
	// Attach calls hijack once the container is found and attachable, then
	// copies until either side ends.
	Attach(ctx context.Context, id string, opts Attach, hijack func(tty bool) (Conn, error)) error
	Resize(ctx context.Context, id string, height, width uint16) error
	// Changes lists what differs from the image's files.
	Changes(ctx context.Context, id string) ([]container.FilesystemChange, error)
	// StatPath describes a path; links at its end are not followed.
	StatPath(ctx context.Context, id, path string) (container.PathStat, error)
	// ReadArchive writes a path as a tar stream to what begin returns, which is
	// called once, when the path has been found.
	ReadArchive(ctx context.Context, id, path string, begin func(container.PathStat) io.Writer) error
	WriteArchive(ctx context.Context, id, dir string, opts WriteArchive, r io.Reader) error
	// Commit makes an image of the container and gives its ID.
	Commit(ctx context.Context, id string, req ContainerCommit) (string, error)
	// Export writes the container's files without its mounts to what begin returns.
	Export(ctx context.Context, id string, begin func() io.Writer) error
	Top(ctx context.Context, id string, psArgs string) (container.TopResponse, error)
	Update(ctx context.Context, id string, u ContainerUpdate) (container.UpdateResponse, error)
	Prune(ctx context.Context, filters Filters) (container.PruneReport, error)
	// Stats gives one sample; the API layer paces the stream.
	Stats(ctx context.Context, id string) (container.StatsResponse, error)
}

// ContainerUpdate is Docker's, and annotations that the engine itself obeys.
type ContainerUpdate struct {
	container.UpdateConfig
	Annotations map[string]string
}

// Execs is the exec noun.
type Execs interface {
	Create(ctx context.Context, containerID string, req container.ExecCreateRequest) (execID string, err error)
	// Start runs the exec. Detached, hijack is not called.
	Start(ctx context.Context, execID string, req container.ExecStartRequest, hijack func(tty bool) (Conn, error)) error
	Inspect(ctx context.Context, execID string) (container.ExecInspectResponse, error)
	Resize(ctx context.Context, execID string, height, width uint16) error
}
