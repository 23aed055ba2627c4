package network

import (
	"slices"
	"strconv"

	networktypes "github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newList(s *session.Session) *cobra.Command {
	var quiet, noTrunc bool
	var format string
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Aliases:     []string{"list"},
		Short:       "List networks",
		Args:        session.NoArgs,
		Annotations: aliases("network ls", "network list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format == "" && !quiet {
				format = s.Config().NetworksFormat
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.NetworkList(cmd.Context(), client.NetworkListOptions{Filters: filter.Values})
			if err != nil {
				return err
			}
			slices.SortFunc(res.Items, func(a, b networktypes.Summary) int { return render.CompareNatural(a.Name, b.Name) })
			rows := make([]render.Row, len(res.Items))
			for i := range res.Items {
				rows[i] = &row{n: &res.Items[i], trunc: !noTrunc}
			}
			return render.Listing{
				Format: format, Quiet: quiet, Key: "ID",
				Columns: []string{"ID", "Name", "Driver", "Scope"},
				Headers: render.Headers{
					"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4",
					"IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
				},
				Raw: `network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n`,
			}.Write(s.Out, rows)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&quiet, "quiet", "q", false, "Show only network IDs")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not shorten the output")
	fs.StringVar(&format, "format", "", session.ListFormatHelp)
	fs.VarP(&filter, "filter", "f", `Show only what matches (e.g. "driver=bridge")`)
	return cmd
}

// row is a network in a listing; its methods are the placeholders.
type row struct {
	render.Base
	n     *networktypes.Summary
	trunc bool
}

func (r *row) ID() string {
	if r.trunc {
		return render.ShortID(r.n.ID)
	}
	return r.n.ID
}
func (r *row) Name() string      { return r.n.Name }
func (r *row) Driver() string    { return r.n.Driver }
func (r *row) Scope() string     { return r.n.Scope }
func (r *row) IPv4() string      { return strconv.FormatBool(r.n.EnableIPv4) }
func (r *row) IPv6() string      { return strconv.FormatBool(r.n.EnableIPv6) }
func (r *row) Internal() string  { return strconv.FormatBool(r.n.Internal) }
func (r *row) Labels() string    { return render.Labels(r.n.Labels) }
func (r *row) CreatedAt() string { return r.n.Created.String() }

// Label gives one label.
func (r *row) Label(name string) string { return r.n.Labels[name] }
