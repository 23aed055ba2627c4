package container

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewRestart makes the command "restart".
func NewRestart(s *session.Session) *cobra.Command {
	var o stopFlags
	cmd := &cobra.Command{
		Use:         "restart [OPTIONS] CONTAINER [CONTAINER...]",
		Short:       "Stop containers and start them again",
		Args:        session.MinArgs(1),
		Annotations: aliases("container restart", "restart"),
		RunE: func(cmd *cobra.Command, args []string) error {
			timeout := o.seconds(cmd.Flags())
			return each(cmd.Context(), s, args, func(ctx context.Context, c *client.Client, name string) error {
				return c.ContainerRestart(ctx, name, client.ContainerRestartOptions{Signal: o.signal, Timeout: timeout})
			})
		},
		ValidArgsFunction: completeNames(s, 0),
	}
	o.register(cmd.Flags())
	return cmd
}
