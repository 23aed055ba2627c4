package engine

import (
	"context"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"io"
)

// Progress receives the JSON progress messages of a pull, push or load.
// Implementations are safe for concurrent use.
type Progress interface {
	// Message reports a status line; id is the layer ("" for the whole).
	Message(id, status string)
	// Bytes reports current of total bytes for a layer under a status.
	Bytes(id, status string, current, total int64)
	// Stream writes a raw line as Docker's "stream" message (load).
	Stream(text string)
}

// ImagePull is the decoded POST /images/create.
type ImagePull struct {
	Ref      string // familiar or canonical name with tag or digest
	Platform *ocispec.Platform
	Auth     registry.AuthConfig
	All      bool // every tag
}

// ImageRemove are the options of DELETE /images/{name}.
type ImageRemove struct {
	Force, NoPrune bool
}

// ImageCommit says how a container becomes an image.
type ImageCommit struct {
	Key       string          // of the writable layer
	Skip      map[string]bool // clean absolute paths in it that are the engine's own
	Config    dockerspec.DockerOCIImageConfig
	Changes   []string // Dockerfile instructions, applied to Config
	Ref       string   // name of the image, "" for none
	Author    string
	Comment   string
	CreatedBy string // the command that made the layer, for the history
}

// ImageImport says how an archive becomes an image.
type ImageImport struct {
	Ref      string // name of the image, "" for none
	Message  string
	Changes  []string          // Dockerfile instructions
	Platform *ocispec.Platform // nil: the host's
}

// Images is the image noun.
type Images interface {
	Pull(ctx context.Context, req ImagePull, p Progress) error
	Load(ctx context.Context, r io.Reader, platforms []ocispec.Platform, quiet bool, p Progress) error
	Save(ctx context.Context, names []string, platforms []ocispec.Platform, w io.Writer) error
	Push(ctx context.Context, ref string, auth registry.AuthConfig, platform *ocispec.Platform, p Progress) error
	Tag(ctx context.Context, name, target string) error
	// Import makes an image of a tar stream, compressed or not, and gives its ID.
	Import(ctx context.Context, req ImageImport, r io.Reader) (string, error)
	List(ctx context.Context, all bool, filters Filters) ([]imagetypes.Summary, error)
	Inspect(ctx context.Context, name string) (imagetypes.InspectResponse, error)
	History(ctx context.Context, name string) ([]imagetypes.HistoryResponseItem, error)
	Remove(ctx context.Context, name string, opts ImageRemove) ([]imagetypes.DeleteResponse, error)
	Prune(ctx context.Context, filters Filters) (imagetypes.PruneReport, error)
}

// Image is what a container needs to know of an image.
type Image struct {
	ID       string // digest of the image config, "sha256:…"; what Docker calls the image ID
	Name     string // familiar name that was resolved, may be ""
	Config   ocispec.ImageConfig
	Health   *dockerspec.HealthcheckConfig // HEALTHCHECK, which OCI's config lacks
	Shell    []string
	Platform ocispec.Platform
	ChainID  string // of the topmost layer, "" for an empty image
	Manifest *ocispec.Descriptor
}

// RootfsMount is one mount(2) that makes (a step of) a root file system.
type RootfsMount struct {
	Type, Source string
	Options      []string
}

// Rootfs is what containers need of the image store. Errors are errs kinds;
// an unknown image is errs.NotFound with Docker's "No such image: …" text.
type Rootfs interface {
	// Resolve finds a local image by name, ID or ID prefix.
	Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (Image, error)
	// PrepareRootfs makes a writable snapshot named key on top of the image's layers.
	// opts are the storage options of a container ("size"), wrong ones are
	// errs.InvalidArgument.
	PrepareRootfs(ctx context.Context, key string, img Image, opts map[string]string) error
	// RootfsLimits tells whether snapshots may be bounded by quotas of projects. It
	// does not change while the store is open.
	RootfsLimits() bool
	// RootfsMounts gives the mounts of an existing snapshot.
	RootfsMounts(ctx context.Context, key string) ([]RootfsMount, error)
	// RemoveRootfs removes the snapshot; a missing one is no error.
	RemoveRootfs(ctx context.Context, key string) error
	// Commit makes an image of a snapshot and gives its ID.
	Commit(ctx context.Context, req ImageCommit) (string, error)
	// RootfsKeys lists all container snapshots, for reconciliation at start.
	RootfsKeys(ctx context.Context) ([]string, error)
	// RootfsUsage gives the bytes of the writable layer and of all layers together.
	RootfsUsage(ctx context.Context, key string) (rw, total int64, err error)
}
