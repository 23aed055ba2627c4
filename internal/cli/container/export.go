package container

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
)

// NewExport makes the command "export".
func NewExport(s *session.Session) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:         "export [OPTIONS] CONTAINER",
		Short:       "Write the file system of a container as a tar archive",
		Args:        session.ExactArgs(1),
		Annotations: aliases("container export", "export"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.CheckArchiveOutput(output, "failed to export container"); err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			body, err := c.ContainerExport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer body.Close()
			return s.WriteArchive(output, body)
		},
		ValidArgsFunction: completeNames(s, 1),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file instead of STDOUT")
	return cmd
}
