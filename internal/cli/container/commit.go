package container

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewCommit makes the command "commit".
func NewCommit(s *session.Session) *cobra.Command {
	var o client.ContainerCommitOptions
	var pause, noPause bool
	var changes opt.List
	cmd := &cobra.Command{
		Use:         "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
		Short:       "Make an image from a container",
		Args:        session.RangeArgs(1, 2),
		Annotations: aliases("container commit", "commit"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			if len(args) > 1 {
				o.Reference = args[1]
			}
			o.NoPause = noPause || !pause
			o.Changes = changes.Values
			res, err := c.ContainerCommit(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			fmt.Fprintln(s.Out, res.ID)
			return nil
		},
		ValidArgsFunction: completeNames(s, 1),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&pause, "pause", "p", true, "Pause the container meanwhile")
	fs.Lookup("pause").Hidden = true
	fs.BoolVar(&noPause, "no-pause", false, "Do not pause the container meanwhile")
	fs.StringVarP(&o.Comment, "message", "m", "", "Message of the image")
	fs.StringVarP(&o.Author, "author", "a", "", `Author (e.g., "Jane Doe <jane@example.com>")`)
	fs.VarP(&changes, "change", "c", "Dockerfile instruction to apply to the image")
	return cmd
}
