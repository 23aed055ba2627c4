// Package system holds the verbs of the CLI that belong to no other noun:
// version, info, events, inspect of any object, disk usage, prune.
package system

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "system", Short: "Manage the installation", Args: session.NoArgs}
	cmd.AddCommand(newDiskUsage(s), NewEvents(s), NewInfo(s), newPrune(s), newDialStdio(s))
	return cmd
}

func aliases(names ...string) map[string]string {
	return map[string]string{session.AliasesKey: strings.Join(names, ",")}
}
