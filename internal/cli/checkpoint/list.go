package checkpoint

import (
	"slices"

	checkpointtypes "github.com/moby/moby/api/types/checkpoint"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newList(s *session.Session) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS] CONTAINER",
		Aliases:     []string{"list"},
		Short:       "List the checkpoints of a container",
		Args:        session.ExactArgs(1),
		Annotations: map[string]string{session.AliasesKey: "checkpoint ls,checkpoint list"},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.CheckpointList(cmd.Context(), args[0], client.CheckpointListOptions{CheckpointDir: dir})
			if err != nil {
				return err
			}
			l := render.Listing{Key: "Name", Columns: []string{"Name"}, Headers: render.Headers{"Name": "CHECKPOINT NAME"}}
			return l.Write(s.Out, rows(res.Items))
		},
		ValidArgsFunction: complete(s, false, &dir, false),
	}
	dirFlag(cmd, &dir)
	return cmd
}

func rows(items []checkpointtypes.Summary) []render.Row {
	slices.SortFunc(items, func(a, b checkpointtypes.Summary) int { return render.CompareNatural(a.Name, b.Name) })
	rows := make([]render.Row, len(items))
	for i := range items {
		rows[i] = &row{c: &items[i]}
	}
	return rows
}

// row is a checkpoint in a listing; its methods are the placeholders.
type row struct {
	render.Base
	c *checkpointtypes.Summary
}

// Name is the checkpoint's name.
func (r *row) Name() string { return r.c.Name }
