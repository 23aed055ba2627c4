package container

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newNounInspect(s *session.Session) *cobra.Command {
	var format string
	var size bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short: "Show containers in detail",
		Args:  session.MinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			return s.Inspect(format, args, func(name string) (render.Document, error) {
				res, err := c.ContainerInspect(cmd.Context(), name, client.ContainerInspectOptions{Size: size})
				return render.Document{Typed: &res.Container, Raw: res.Raw}, err
			})
		},
		ValidArgsFunction: completeNames(s, 0),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Show file sizes")
	return cmd
}
