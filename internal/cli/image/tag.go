package image

import (
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewTag makes the command "tag".
func NewTag(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:       "Give an image another name",
		Args:        session.ExactArgs(2),
		Annotations: aliases("image tag", "tag"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			return c.ImageTag(cmd.Context(), client.ImageTagOptions{Source: args[0], Target: args[1]})
		},
		ValidArgsFunction: completeImages(s, 2),
	}
}
