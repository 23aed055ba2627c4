package container

import (
	"context"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewKill makes the command "kill".
func NewKill(s *session.Session) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:         "kill [OPTIONS] CONTAINER [CONTAINER...]",
		Short:       "Kill running containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container kill", "kill"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), s, args, func(ctx context.Context, c *client.Client, name string) error {
				return c.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: signal})
			})
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateRunning, containertypes.StatePaused),
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return cmd
}
