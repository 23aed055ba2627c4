// Package checkpoint holds the checkpoint verbs of the CLI, one file each.
package checkpoint

import (
	"strings"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "checkpoint", Short: "Manage checkpoints", Args: session.NoArgs}
	cmd.AddCommand(newCreate(s), newList(s), newRemove(s))
	return cmd
}

// dirFlag declares --checkpoint-dir.
func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "checkpoint-dir", "", "Directory of the checkpoints on the daemon's machine (default: the container's own)")
}

// complete completes a container and, if names is set, one of its checkpoints.
func complete(s *session.Session, names bool, dir *string, running bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var found []string
		switch {
		case len(args) == 0:
			found, err = containers(cmd, c, running)
		case len(args) == 1 && names:
			var list client.CheckpointListResult
			list, err = c.CheckpointList(cmd.Context(), args[0], client.CheckpointListOptions{CheckpointDir: *dir})
			for _, item := range list.Items {
				found = append(found, item.Name)
			}
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func containers(cmd *cobra.Command, c *client.Client, running bool) (names []string, err error) {
	list, err := c.ContainerList(cmd.Context(), client.ContainerListOptions{All: true})
	for _, item := range list.Items {
		if running && item.State != containertypes.StateRunning {
			continue
		}
		for _, n := range item.Names {
			if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
				names = append(names, n)
			}
		}
	}
	return names, err
}
