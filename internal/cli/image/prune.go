package image

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newPrune(s *session.Session) *cobra.Command {
	var all, force bool
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove images that nothing uses",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			warning := "WARNING! This will remove all dangling images."
			if all {
				warning = "WARNING! This will remove all images without at least one container associated to them."
			}
			if !force {
				if err := s.Confirm(warning); err != nil {
					return err
				}
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			filters := client.Filters{}
			for k, v := range s.PruneFilters(filter.Values) {
				filters[k] = v
			}
			filters.Add("dangling", fmt.Sprint(!all))
			res, err := c.ImagePrune(cmd.Context(), client.ImagePruneOptions{Filters: filters})
			if err != nil {
				return err
			}
			if len(res.Report.ImagesDeleted) > 0 {
				fmt.Fprintln(s.Out, "Deleted Images:")
				for _, d := range res.Report.ImagesDeleted {
					if d.Untagged != "" {
						fmt.Fprintln(s.Out, "untagged:", d.Untagged)
					} else {
						fmt.Fprintln(s.Out, "deleted:", d.Deleted)
					}
				}
				fmt.Fprintln(s.Out)
			}
			fmt.Fprintln(s.Out, "Total reclaimed space:", render.HumanSize(res.Report.SpaceReclaimed))
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Remove every image without a container, not just dangling ones")
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	fs.Var(&filter, "filter", `Only what matches (e.g. "until=<timestamp>")`)
	return cmd
}
