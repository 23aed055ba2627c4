package container

import (
	"context"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewPause makes the command "pause".
func NewPause(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "pause CONTAINER [CONTAINER...]",
		Short:       "Freeze all processes of containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container pause", "pause"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), s, args, func(ctx context.Context, c *client.Client, name string) error {
				return c.ContainerPause(ctx, name)
			})
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateRunning),
	}
}
