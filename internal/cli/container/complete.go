package container

import (
	"slices"
	"strings"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// completeNames completes container names; only, if given, are the states
// that fit the verb. limit is the number of arguments that take one, 0 for all.
func completeNames(s *session.Session, limit int, only ...containertypes.ContainerState) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.ContainerList(cmd.Context(), client.ContainerListOptions{All: true})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, item := range list.Items {
			if len(only) > 0 && !slices.Contains(only, item.State) {
				continue
			}
			for _, n := range item.Names {
				if n = trimSlash(n); !strings.Contains(n, "/") && !slices.Contains(args, n) {
					names = append(names, n)
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeImages completes image names as the first argument.
func completeImages(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.ImageList(cmd.Context(), client.ImageListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, img := range list.Items {
			names = append(names, img.RepoTags...)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
