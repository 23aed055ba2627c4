package checkpoint

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newCreate(s *session.Session) *cobra.Command {
	var dir string
	var leaveRunning bool
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] CONTAINER CHECKPOINT",
		Short: "Write a running container's processes to files, and end it",
		Args:  session.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			err = c.CheckpointCreate(cmd.Context(), args[0], client.CheckpointCreateOptions{
				CheckpointID: args[1], CheckpointDir: dir, Exit: !leaveRunning,
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(s.Out, args[1])
			return nil
		},
		ValidArgsFunction: complete(s, false, &dir, true),
	}
	cmd.Flags().BoolVar(&leaveRunning, "leave-running", false, "Leave the container running")
	dirFlag(cmd, &dir)
	return cmd
}
