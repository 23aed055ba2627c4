package network

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newInspect(s *session.Session) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short: "Show networks in detail",
		Args:  session.MinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			return s.Inspect(format, args, func(name string) (render.Document, error) {
				res, err := c.NetworkInspect(cmd.Context(), name, client.NetworkInspectOptions{Verbose: verbose})
				return render.Document{Typed: &res.Network, Raw: res.Raw}, err
			})
		},
		ValidArgsFunction: complete(s, 0),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show diagnostics, too")
	return cmd
}
