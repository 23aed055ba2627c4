// Package network holds the network verbs of the CLI, one file each.
package network

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "network", Short: "Manage networks", Args: session.NoArgs}
	cmd.AddCommand(newConnect(s), newCreate(s), newDisconnect(s), newInspect(s), newList(s), newPrune(s), newRemove(s))
	return cmd
}

func complete(s *session.Session, limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.NetworkList(cmd.Context(), client.NetworkListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, n := range list.Items {
			if !slices.Contains(args, n.Name) {
				names = append(names, n.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func aliases(names ...string) map[string]string {
	return map[string]string{session.AliasesKey: strings.Join(names, ",")}
}
