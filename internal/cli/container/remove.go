package container

import (
	"context"
	"errors"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
)

// NewRemove makes the command "rm".
func NewRemove(s *session.Session) *cobra.Command {
	var o client.ContainerRemoveOptions
	cmd := &cobra.Command{
		Use:         "rm [OPTIONS] CONTAINER [CONTAINER...]",
		Aliases:     []string{"remove"},
		Short:       "Remove containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container rm", "container remove", "rm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), s, args, func(ctx context.Context, c *client.Client, name string) error {
				name = trimSlash(name)
				if name == "" {
					return errors.New("container name cannot be empty")
				}
				err := c.ContainerRemove(ctx, name, o)
				if o.Force && errs.Is(err, errs.NotFound) {
					// The wish is fulfilled; Docker says so on stderr and succeeds.
					return notFound{err}
				}
				return err
			})
		},
	}
	states := []containertypes.ContainerState{containertypes.StateCreated, containertypes.StateExited, containertypes.StateDead}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if o.Force {
			return completeNames(s, 0)(cmd, args, prefix)
		}
		return completeNames(s, 0, states...)(cmd, args, prefix)
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.RemoveVolumes, "volumes", "v", false, "Remove the container's anonymous volumes too")
	fs.BoolVarP(&o.RemoveLinks, "link", "l", false, "Remove the given link")
	fs.BoolVarP(&o.Force, "force", "f", false, "Remove a running container, killing it")
	return cmd
}
