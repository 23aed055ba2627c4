package image

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
)

// NewRemove makes the command "rmi", or "rm" below the noun.
func NewRemove(s *session.Session, name string) *cobra.Command {
	var force, noPrune bool
	var platforms opt.List
	cmd := &cobra.Command{
		Use:         name + " [OPTIONS] IMAGE [IMAGE...]",
		Short:       "Remove images",
		Args:        session.MinArgs(1),
		Annotations: aliases("image rm", "image remove", "rmi"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parsePlatforms(platforms.Values)
			if err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			var failed []error
			fatal := false
			for _, img := range args {
				res, err := c.ImageRemove(cmd.Context(), img, client.ImageRemoveOptions{Force: force, PruneChildren: !noPrune, Platforms: list})
				if err != nil {
					fatal = fatal || !errs.Is(err, errs.NotFound)
					failed = append(failed, err)
					continue
				}
				for _, d := range res.Items {
					if d.Deleted != "" {
						fmt.Fprintln(s.Out, "Deleted:", d.Deleted)
					} else {
						fmt.Fprintln(s.Out, "Untagged:", d.Untagged)
					}
				}
			}
			err = session.Join(failed)
			if err != nil && force && !fatal {
				fmt.Fprintln(s.Err, err)
				return nil
			}
			return err
		},
		ValidArgsFunction: completeImages(s, 0),
	}
	if name == "rm" {
		cmd.Aliases = []string{"rmi", "remove"}
	}
	fs := cmd.Flags()
	fs.BoolVarP(&force, "force", "f", false, "Remove the image even if it has several names or stopped containers")
	fs.BoolVar(&noPrune, "no-prune", false, "Keep untagged parents")
	fs.Var(&platforms, "platform", "Remove only this platform of multi-platform images")
	return cmd
}
