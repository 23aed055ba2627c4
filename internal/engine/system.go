package engine

import (
	"context"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
)

// System is what belongs to no other noun.
type System interface {
	Info(ctx context.Context) (system.Info, error)
	Version(ctx context.Context) (system.VersionResponse, error)
	DiskUsage(ctx context.Context) (system.DiskUsage, error)
	Auth(ctx context.Context, cfg registry.AuthConfig) (registry.AuthResponse, error)
}
