package network

import (
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
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
				_, err := c.NetworkRemove(cmd.Context(), name, client.NetworkRemoveOptions{})
				if session.Connect(err) != nil {
					return err
				}
				if force && cerrdefs.IsNotFound(err) {
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
