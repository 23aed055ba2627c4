package container

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewRename makes the command "rename".
func NewRename(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "rename CONTAINER NEW_NAME",
		Short:       "Give a container another name",
		Args:        session.ExactArgs(2),
		Annotations: aliases("container rename", "rename"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if from == "" || to == "" {
				//lint:ignore ST1005 Docker's text
				return errors.New("Error: Neither old nor new names may be empty")
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			err = c.ContainerRename(cmd.Context(), from, client.ContainerRenameOptions{NewName: to})
			if err != nil && session.Connect(err) == nil {
				return fmt.Errorf("%w\nError: failed to rename container named %s", err, from)
			}
			return err
		},
		ValidArgsFunction: completeNames(s, 1),
	}
}
