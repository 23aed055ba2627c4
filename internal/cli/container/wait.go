package container

import (
	"fmt"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewWait makes the command "wait".
func NewWait(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "wait CONTAINER [CONTAINER...]",
		Short:       "Wait until containers stop and print their exit codes",
		Args:        session.MinArgs(1),
		Annotations: aliases("container wait", "wait"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				res := c.ContainerWait(cmd.Context(), name, client.ContainerWaitOptions{})
				select {
				case r := <-res.Result:
					fmt.Fprintln(s.Out, r.StatusCode)
				case err := <-res.Error:
					errs = append(errs, err)
				}
			}
			return session.Join(errs)
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateRunning),
	}
}
