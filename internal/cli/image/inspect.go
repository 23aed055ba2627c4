package image

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newInspect(s *session.Session) *cobra.Command {
	var format, platform string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short: "Show images in detail",
		Args:  session.MinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			var opts client.ImageInspectOptions
			if platform != "" {
				if opts.Platform, err = ParsePlatform(platform); err != nil {
					return err
				}
			}
			return s.Inspect(format, args, func(name string) (render.Document, error) {
				return Document(cmd, c, name, opts)
			})
		},
		ValidArgsFunction: completeImages(s, 0),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	cmd.Flags().StringVar(&platform, "platform", "", "Platform of the image, where there are several")
	return cmd
}

// Document inspects an image.
func Document(cmd *cobra.Command, c *client.Client, name string, opts client.ImageInspectOptions) (render.Document, error) {
	res, err := c.ImageInspect(cmd.Context(), name, opts)
	return render.Document{Typed: &res.Image, Raw: res.Raw}, err
}
