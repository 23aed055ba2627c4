package network

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/errs"
)

func newRemove(s *session.Session) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:         "rm NETWORK [NETWORK...]",
		Aliases:     []string{"remove"},
		Short:       "Remove networks",
		Args:        session.MinArgs(1),
		Annotations: aliases("network rm", "network remove"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			failed := false
			for _, name := range args {
				err := c.NetworkRemove(cmd.Context(), name)
				if session.Connect(err) != nil {
					return err
				}
				if force && errs.Is(err, errs.NotFound) {
					continue
				}
				if err != nil {
					fmt.Fprintln(s.Err, err)
					failed = true
					continue
				}
				fmt.Fprintln(s.Out, name)
			}
			if failed {
				return session.Exit(1)
			}
			return nil
		},
		ValidArgsFunction: complete(s, 0),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not complain about networks that do not exist")
	return cmd
}
