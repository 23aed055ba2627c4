package network

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newPrune(s *session.Session) *cobra.Command {
	var force bool
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove networks that no container uses",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force {
				if err := s.Confirm("WARNING! This will remove all custom networks not used by at least one container."); err != nil {
					return err
				}
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.NetworkPrune(cmd.Context(), client.NetworkPruneOptions{Filters: s.PruneFilters(filter.Values)})
			if err != nil {
				return err
			}
			if len(res.Report.NetworksDeleted) > 0 {
				fmt.Fprintln(s.Out, "Deleted Networks:")
				for _, n := range res.Report.NetworksDeleted {
					fmt.Fprintln(s.Out, n)
				}
				fmt.Fprintln(s.Out)
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	cmd.Flags().Var(&filter, "filter", `Only what matches (e.g. "until=<timestamp>")`)
	return cmd
}
