package container

import (
	"errors"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
)

// NewDiff makes the command "diff".
func NewDiff(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "diff CONTAINER",
		Short:       "Show what changed in the file system of a container",
		Args:        session.ExactArgs(1),
		Annotations: aliases("container diff", "diff"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("Container name cannot be empty")
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.ContainerDiff(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			rows := make([]render.Row, len(res.Changes))
			for i := range res.Changes {
				rows[i] = &diffRow{c: &res.Changes[i]}
			}
			return render.Listing{Format: "{{.Type}} {{.Path}}"}.Write(s.Out, rows)
		},
		ValidArgsFunction: completeNames(s, 1),
	}
}

type diffRow struct {
	render.Base
	c *containertypes.FilesystemChange
}

func (r *diffRow) Type() string { return r.c.Kind.String() }
func (r *diffRow) Path() string { return r.c.Path }
