// Package volume holds the volume verbs of the CLI, one file each.
package volume

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "volume", Short: "Manage volumes", Args: session.NoArgs}
	cmd.AddCommand(newCreate(s), newInspect(s), newList(s), newPrune(s), newRemove(s))
	return cmd
}

func complete(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.VolumeList(cmd.Context(), client.VolumeListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, v := range list.Items {
			if !slices.Contains(args, v.Name) {
				names = append(names, v.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func aliases(names ...string) map[string]string {
	return map[string]string{session.AliasesKey: strings.Join(names, ",")}
}
