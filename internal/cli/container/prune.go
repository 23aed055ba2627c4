package container

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newPrune(s *session.Session) *cobra.Command {
	var force bool
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove all stopped containers",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force {
				if err := s.Confirm("WARNING! This will remove all stopped containers."); err != nil {
					return err
				}
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.ContainerPrune(cmd.Context(), client.ContainerPruneOptions{Filters: s.PruneFilters(filter.Values)})
			if err != nil {
				return err
			}
			if len(res.Report.ContainersDeleted) > 0 {
				fmt.Fprintln(s.Out, "Deleted Containers:")
				for _, id := range res.Report.ContainersDeleted {
					fmt.Fprintln(s.Out, id)
				}
				fmt.Fprintln(s.Out)
			}
			fmt.Fprintln(s.Out, "Total reclaimed space:", render.HumanSize(res.Report.SpaceReclaimed))
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	cmd.Flags().Var(&filter, "filter", `Only what matches (e.g. "until=<timestamp>")`)
	return cmd
}
