package container

import (
	"fmt"
	"regexp"
	"strings"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type listOptions struct {
	quiet, all, noTrunc, latest, size bool
	last                              int
	format                            string
	filter                            opt.Filter
}

// NewList makes the command "ps", or "ls" below the noun.
func NewList(s *session.Session, name string) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:         name + " [OPTIONS]",
		Short:       "List containers",
		Args:        session.NoArgs,
		Annotations: aliases("container ls", "container list", "container ps", "ps"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, s)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	if name == "ls" {
		cmd.Aliases = []string{"ps", "list"}
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "Show only container IDs")
	fs.BoolVarP(&o.size, "size", "s", false, "Show file sizes")
	fs.BoolVarP(&o.all, "all", "a", false, "Show containers that are not running, too")
	fs.BoolVar(&o.noTrunc, "no-trunc", false, "Do not shorten the output")
	fs.BoolVarP(&o.latest, "latest", "l", false, "Show the container created last, in any state")
	fs.IntVarP(&o.last, "last", "n", -1, "Show the n containers created last, in any state")
	fs.StringVar(&o.format, "format", "", session.ListFormatHelp)
	fs.VarP(&o.filter, "filter", "f", "Show only what matches")
	return cmd
}

func (o *listOptions) run(cmd *cobra.Command, s *session.Session) error {
	switch {
	case o.quiet && o.format != "":
		fmt.Fprintln(s.Err, "WARNING: Ignoring custom format, because both --format and --quiet are set.")
		if o.format != "raw" {
			o.format = ""
		}
	case o.format == "" && !o.quiet:
		o.format = s.Config().PsFormat
	}
	req := client.ContainerListOptions{
		All: o.all, Limit: o.last, Filters: o.filter.Values,
		// Sizes cost the daemon a walk through files: only if they are shown.
		Size: o.size || strings.Contains(o.format, ".Size") || wholeRow.MatchString(o.format),
	}
	if o.latest && o.last == -1 {
		req.Limit = 1
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	res, err := c.ContainerList(cmd.Context(), req)
	if err != nil {
		return err
	}
	rows := make([]render.Row, len(res.Items))
	for i := range res.Items {
		rows[i] = &listRow{c: &res.Items[i], trunc: !o.noTrunc}
	}
	l := listing()
	l.Format, l.Quiet = o.format, o.quiet
	if o.size {
		l.Columns = append(l.Columns, "Size")
		l.Raw += `\nsize: {{.Size}}`
	}
	l.Raw += `\n`
	if o.quiet && o.format == "raw" {
		l.Quiet, l.Raw = false, "container_id: {{.ID}}"
	}
	return l.Write(s.Out, rows)
}

// wholeRow is a template that shows all columns, sizes too.
var wholeRow = regexp.MustCompile(`\{\{-?\s*json\s+\.\s*-?\}\}`)

func listing() render.Listing {
	return render.Listing{
		Key:     "ID",
		Columns: []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
		Headers: Headers(),
		Raw: `container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n` +
			`state: {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}`,
	}
}

// Headers are the headings of a container's columns.
func Headers() render.Headers {
	return render.Headers{
		"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND",
		"CreatedAt": "CREATED AT", "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE",
		"Status": "STATUS", "Size": "SIZE", "Labels": "LABELS", "Mounts": "MOUNTS",
		"LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
	}
}

// Rows makes a shortened row of each container, with the size of only what
// the container itself takes.
func Rows(items []containertypes.Summary) []render.Row {
	rows := make([]render.Row, len(items))
	for i := range items {
		items[i].SizeRootFs = 0
		rows[i] = &listRow{c: &items[i], trunc: true}
	}
	return rows
}
