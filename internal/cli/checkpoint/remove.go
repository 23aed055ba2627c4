package checkpoint

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newRemove(s *session.Session) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:         "rm [OPTIONS] CONTAINER CHECKPOINT",
		Aliases:     []string{"remove"},
		Short:       "Remove a checkpoint",
		Args:        session.ExactArgs(2),
		Annotations: map[string]string{session.AliasesKey: "checkpoint rm,checkpoint remove"},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			return c.CheckpointRemove(cmd.Context(), args[0], client.CheckpointRemoveOptions{CheckpointID: args[1], CheckpointDir: dir})
		},
		ValidArgsFunction: complete(s, true, &dir, false),
	}
	dirFlag(cmd, &dir)
	return cmd
}
