package image

import (
	"strconv"
	"strings"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewHistory makes the command "history".
func NewHistory(s *session.Session) *cobra.Command {
	var human, quiet, noTrunc bool
	var format, platform string
	cmd := &cobra.Command{
		Use:         "history [OPTIONS] IMAGE",
		Short:       "Show how an image was made",
		Args:        session.ExactArgs(1),
		Annotations: aliases("image history", "history"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			var opts client.ImageHistoryOptions
			if platform != "" {
				if opts.Platform, err = ParsePlatform(platform); err != nil {
					return err
				}
			}
			res, err := c.ImageHistory(cmd.Context(), args[0], opts)
			if err != nil {
				return err
			}
			rows := make([]render.Row, len(res.Items))
			for i := range res.Items {
				rows[i] = &historyRow{h: &res.Items[i], human: human, trunc: !noTrunc}
			}
			l := render.Listing{
				Format: format, Quiet: quiet, Key: "ID",
				Columns: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment"},
				Headers: render.Headers{
					"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
					"CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
				},
			}
			if !human {
				l.Columns[1] = "CreatedAt"
			}
			return l.Write(s.Out, rows)
		},
		ValidArgsFunction: completeImages(s, 1),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&human, "human", "H", true, "Show sizes and times as people read them")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Show only image IDs")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not shorten the output")
	fs.StringVar(&format, "format", "", session.ListFormatHelp)
	fs.StringVar(&platform, "platform", "", "Platform of the image, where there are several")
	return cmd
}

type historyRow struct {
	render.Base
	h            *imagetypes.HistoryResponseItem
	human, trunc bool
}

func (r *historyRow) ID() string {
	if r.trunc {
		return render.ShortID(r.h.ID)
	}
	return r.h.ID
}

func (r *historyRow) CreatedAt() string { return time.Unix(r.h.Created, 0).Format(time.RFC3339) }

func (r *historyRow) CreatedSince() string {
	if !r.human {
		return r.CreatedAt()
	}
	if r.h.Created <= 0 {
		return "N/A"
	}
	return render.Ago(r.h.Created)
}

func (r *historyRow) CreatedBy() string {
	by := strings.ReplaceAll(r.h.CreatedBy, "\t", " ")
	if r.trunc {
		return render.Ellipsis(by, 45)
	}
	return by
}

func (r *historyRow) Size() string {
	if r.human {
		return render.Size(r.h.Size)
	}
	return strconv.FormatInt(r.h.Size, 10)
}

func (r *historyRow) Comment() string { return r.h.Comment }
