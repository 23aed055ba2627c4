package volume

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
		Short: "Remove volumes that no container uses",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			warning := "WARNING! This will remove anonymous local volumes not used by at least one container."
			if all {
				warning = "WARNING! This will remove all local volumes not used by at least one container."
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
			res, err := c.VolumePrune(cmd.Context(), client.VolumePruneOptions{All: all, Filters: s.PruneFilters(filter.Values)})
			if err != nil {
				return err
			}
			if len(res.Report.VolumesDeleted) > 0 {
				fmt.Fprintln(s.Out, "Deleted Volumes:")
				for _, v := range res.Report.VolumesDeleted {
					fmt.Fprintln(s.Out, v)
				}
				fmt.Fprintln(s.Out)
			}
			fmt.Fprintln(s.Out, "Total reclaimed space:", render.HumanSize(res.Report.SpaceReclaimed))
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Remove named volumes, too")
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	fs.Var(&filter, "filter", `Only what matches (e.g. "label=<label>")`)
	return cmd
}
