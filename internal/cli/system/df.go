package system

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/container"
	"github.com/gantry-run/gantry/internal/cli/image"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/volume"
	"github.com/gantry-run/gantry/internal/client"
)

func newDiskUsage(s *session.Session) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "df [OPTIONS]",
		Short: "Show what disk space is used for",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showDiskUsage(cmd.Context(), s, format, verbose)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&format, "format", "", session.ListFormatHelp)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show every object")
	return cmd
}

func showDiskUsage(ctx context.Context, s *session.Session, format string, verbose bool) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	du, err := c.DiskUsage(ctx, client.DiskUsageOptions{Verbose: verbose})
	if err != nil {
		return err
	}
	if verbose && (format == "" || format == "table") {
		return writeVerbose(s.Out, &du)
	}
	rows := []render.Row{
		&usageRow{render.Base{}, "Images", du.Images.TotalCount, du.Images.ActiveCount, du.Images.TotalSize, du.Images.Reclaimable, true},
		&usageRow{render.Base{}, "Containers", du.Containers.TotalCount, du.Containers.ActiveCount, du.Containers.TotalSize, du.Containers.Reclaimable, true},
		&usageRow{render.Base{}, "Local Volumes", du.Volumes.TotalCount, du.Volumes.ActiveCount, du.Volumes.TotalSize, du.Volumes.Reclaimable, true},
		&usageRow{render.Base{}, "Build Cache", du.BuildCache.TotalCount, du.BuildCache.ActiveCount, du.BuildCache.TotalSize, du.BuildCache.Reclaimable, false},
	}
	return render.Listing{
		Format:  format,
		Columns: []string{"Type", "TotalCount", "Active", "Size", "Reclaimable"},
		Headers: render.Headers{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
	}.Write(s.Out, rows)
}

// usageRow is the usage of one kind of object; its methods are the placeholders.
type usageRow struct {
	render.Base
	kind                             string
	total, active, size, reclaimable int64
	percent                          bool
}

func (r *usageRow) Type() string       { return r.kind }
func (r *usageRow) TotalCount() string { return render.Count(r.total) }
func (r *usageRow) Active() string     { return render.Count(r.active) }
func (r *usageRow) Size() string       { return render.HumanSize(uint64(max(0, r.size))) }

func (r *usageRow) Reclaimable() string {
	text := render.HumanSize(uint64(max(0, r.reclaimable)))
	if r.percent && r.size > 0 {
		return fmt.Sprintf("%s (%v%%)", text, r.reclaimable*100/r.size)
	}
	return text
}

// writeVerbose lists every object by kind.
func writeVerbose(w io.Writer, du *client.DiskUsageResult) error {
	sections := []struct {
		title string
		write func() error
	}{
		{"Images space usage:\n\n", func() error {
			return render.Listing{
				Columns: []string{"Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"},
				Headers: image.Headers(),
			}.Write(w, image.Rows(du.Images.Items, true, false))
		}},
		{"\nContainers space usage:\n\n", func() error {
			return render.Listing{
				Columns: []string{"ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"},
				Headers: container.Headers(),
			}.Write(w, container.Rows(du.Containers.Items))
		}},
		{"\nLocal Volumes space usage:\n\n", func() error {
			l := volume.Listing()
			l.Columns = []string{"Name", "Links", "Size"}
			return l.Write(w, volume.Rows(du.Volumes.Items))
		}},
		{fmt.Sprintf("\nBuild cache usage: %s\n\n", render.HumanSize(uint64(max(0, du.BuildCache.TotalSize)))), func() error {
			return writeCache(w, du)
		}},
	}
	for _, s := range sections {
		if _, err := io.WriteString(w, s.title); err != nil {
			return err
		}
		if err := s.write(); err != nil {
			return err
		}
	}
	return nil
}
