package volume

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newRemove(s *session.Session) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:         "rm [OPTIONS] VOLUME [VOLUME...]",
		Aliases:     []string{"remove"},
		Short:       "Remove volumes",
		Args:        session.MinArgs(1),
		Annotations: aliases("volume rm", "volume remove"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				err := c.VolumeRemove(cmd.Context(), name, client.VolumeRemoveOptions{Force: force})
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(s.Out, name)
			}
			return session.Join(errs)
		},
		ValidArgsFunction: complete(s),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not complain about volumes that do not exist")
	return cmd
}
