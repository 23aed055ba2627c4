package image

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewSave makes the command "save".
func NewSave(s *session.Session) *cobra.Command {
	var output string
	var platforms opt.List
	cmd := &cobra.Command{
		Use:         "save [OPTIONS] IMAGE [IMAGE...]",
		Short:       "Write images as a tar archive, to STDOUT unless told otherwise",
		Args:        session.MinArgs(1),
		Annotations: aliases("image save", "save"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.CheckArchiveOutput(output, "failed to save image"); err != nil {
				return err
			}
			list, err := parsePlatforms(platforms.Values)
			if err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			body, err := c.ImageSave(cmd.Context(), args, client.ImageSaveOptions{Platforms: list})
			if err != nil {
				return err
			}
			defer body.Close()
			return s.WriteArchive(output, body)
		},
		ValidArgsFunction: completeImages(s, 0),
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "Write to a file instead of STDOUT")
	fs.Var(&platforms, "platform", "Save only this platform of multi-platform images")
	return cmd
}
