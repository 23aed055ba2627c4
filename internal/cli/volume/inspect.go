package volume

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
)

func newInspect(s *session.Session) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short: "Show volumes in detail",
		Args:  session.MinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			return s.Inspect(format, args, func(name string) (render.Document, error) {
				res, err := c.VolumeInspect(cmd.Context(), name)
				return render.Document{Typed: &res.Volume, Raw: res.Raw}, err
			})
		},
		ValidArgsFunction: complete(s),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	return cmd
}
