package engine

import (
	"context"
	"net/netip"
	"os"

	"github.com/moby/moby/api/types/events"
	networktypes "github.com/moby/moby/api/types/network"
)

// Networks is the network noun.
type Networks interface {
	List(ctx context.Context, filters Filters) ([]networktypes.Summary, error)
	Inspect(ctx context.Context, id string) (networktypes.Inspect, error)
	Prune(ctx context.Context, filters Filters) (networktypes.PruneReport, error)
}

// NetworkRequest asks for a container's network at start.
type NetworkRequest struct {
	ContainerID string
	Name        string // without the slash
	Hostname    string
	Mode        string // "bridge" or another network's name or ID; never host, none or container:
	Endpoints   map[string]*networktypes.EndpointSettings
	Exposed     networktypes.PortSet
	Bindings    networktypes.PortMap
	PublishAll  bool
	Sysctls     map[string]string // net.* only
	// Preferred are addresses, by network name, that are given as long as nobody else
	// has them: those of a checkpoint, which its sockets may be bound to.
	Preferred map[string]netip.Addr
	Users     Users
}

// Users says to which user namespace a container's network namespace belongs. The
// zero value is the machine's.
type Users struct {
	Mapped bool     // to a new one, in which ids are mapped as the daemon is told
	In     *os.File // to this one
}

// Sandbox is a container's network, ready: a namespace with configured
// interfaces, routes and published ports.
type Sandbox struct {
	// NS is the namespace. It lives as long as a process or this file keeps it;
	// the receiver closes it once the container's init has joined.
	NS        *os.File
	Endpoints map[string]*networktypes.EndpointSettings // by network name, operational data filled
	Ports     networktypes.PortMap                      // with the host ports really used
	DNS       []netip.Addr                              // for resolv.conf; empty: the host's
}

// Sandboxes is what containers need of the network. Unknown networks are
// errs.NotFound "network X not found"; a taken port is errs.Internal with
// Docker's "port is already allocated" text.
type Sandboxes interface {
	// Check tells what Attach would refuse, before a container is created: a network
	// that does not exist, settings that it cannot give.
	Check(ctx context.Context, mode string, endpoints map[string]*networktypes.EndpointSettings) error
	Attach(ctx context.Context, req NetworkRequest) (*Sandbox, error)
	// Isolated gives a namespace with a loopback interface only, for a container
	// without a network. The receiver closes it once the container's init has joined.
	Isolated(ctx context.Context, users Users) (*os.File, error)
	// Detach frees addresses and ports; idempotent.
	Detach(ctx context.Context, containerID string) error
	// Announce publishes that a container has come to a network, host and none
	// among them, or has left it. An unknown network has no events.
	Announce(action events.Action, mode, containerID string)
	// HostGateway is where containers reach the host: the default bridge's address,
	// or invalid without one.
	HostGateway() netip.Addr
	// Restore tells the network at daemon start which containers live with
	// which settings. Everything else that an earlier daemon left is removed.
	Restore(ctx context.Context, live []LiveSandbox) error
}

// LiveSandbox is the network of a container that outlived its daemon.
type LiveSandbox struct {
	ContainerID string
	Name        string // without the slash
	Pid         int    // /proc/<pid>/ns/net is the namespace
	Endpoints   map[string]*networktypes.EndpointSettings
	Ports       networktypes.PortMap
}
