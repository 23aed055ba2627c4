package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
)

// newCompletion makes the command "completion".
func newCompletion(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print the completion script of a shell (bash, zsh, fish)",
		Args:      session.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.Out, true)
			case "zsh":
				return root.GenZshCompletion(s.Out)
			case "fish":
				return root.GenFishCompletion(s.Out, true)
			}
			return fmt.Errorf("unknown shell %q: must be bash, zsh or fish", args[0])
		},
	}
}
