package volume

import (
	"slices"

	volumetypes "github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newList(s *session.Session) *cobra.Command {
	var quiet bool
	var format string
	var filter opt.Filter
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Aliases:     []string{"list"},
		Short:       "List volumes",
		Args:        session.NoArgs,
		Annotations: aliases("volume ls", "volume list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format == "" && !quiet {
				format = s.Config().VolumesFormat
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.VolumeList(cmd.Context(), client.VolumeListOptions{Filters: filter.Values})
			if err != nil {
				return err
			}
			l := Listing()
			l.Format, l.Quiet = format, quiet
			return l.Write(s.Out, Rows(res.Items))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&quiet, "quiet", "q", false, "Show only volume names")
	fs.StringVar(&format, "format", "", session.ListFormatHelp)
	fs.VarP(&filter, "filter", "f", `Show only what matches (e.g. "dangling=true")`)
	return cmd
}

// Listing is how volumes are listed.
func Listing() render.Listing {
	return render.Listing{
		Key:     "Name",
		Columns: []string{"Driver", "Name"},
		Headers: render.Headers{
			"Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Availability": "AVAILABILITY",
			"Mountpoint": "MOUNTPOINT", "Links": "LINKS", "Size": "SIZE", "Labels": "LABELS", "Group": "GROUP", "Status": "STATUS",
		},
		Raw: `name: {{.Name}}\ndriver: {{.Driver}}\n`,
	}
}

// Rows makes rows in order of the names.
func Rows(items []volumetypes.Volume) []render.Row {
	slices.SortFunc(items, func(a, b volumetypes.Volume) int { return render.CompareNatural(a.Name, b.Name) })
	rows := make([]render.Row, len(items))
	for i := range items {
		rows[i] = &Row{v: &items[i]}
	}
	return rows
}

// unknown stands for a figure that the daemon does not tell.
const unknown = "N/A"

// Row is a volume in a listing; its methods are the placeholders.
type Row struct {
	render.Base
	v *volumetypes.Volume
}

// Name is the volume's name.
func (r *Row) Name() string { return r.v.Name }

// Driver is the volume's driver.
func (r *Row) Driver() string { return r.v.Driver }

// Scope is local or global.
func (r *Row) Scope() string { return r.v.Scope }

// Mountpoint is where the volume lies on the host.
func (r *Row) Mountpoint() string { return r.v.Mountpoint }

// Labels are all labels.
func (r *Row) Labels() string { return render.Labels(r.v.Labels) }

// Label gives one label.
func (r *Row) Label(name string) string { return r.v.Labels[name] }

// Links is the number of containers that use the volume.
func (r *Row) Links() string {
	if r.v.UsageData == nil {
		return unknown
	}
	return render.Count(r.v.UsageData.RefCount)
}

// Size is what the volume holds.
func (r *Row) Size() string {
	if r.v.UsageData == nil || r.v.UsageData.Size == -1 {
		return unknown
	}
	return render.Size(r.v.UsageData.Size)
}

// Availability is whether a cluster volume may be used.
func (r *Row) Availability() string {
	if r.v.ClusterVolume == nil {
		return unknown
	}
	return string(r.v.ClusterVolume.Spec.Availability)
}

// Group is a cluster volume's group.
func (r *Row) Group() string {
	if r.v.ClusterVolume == nil {
		return unknown
	}
	return r.v.ClusterVolume.Spec.Group
}

// Status is a cluster volume's state.
func (r *Row) Status() string {
	switch {
	case r.v.ClusterVolume == nil:
		return unknown
	case r.v.ClusterVolume.Info == nil || r.v.ClusterVolume.Info.VolumeID == "":
		return "pending creation"
	}
	return "created"
}
