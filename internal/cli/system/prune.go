package system

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type pruneOptions struct {
	all, force, volumes bool
	filter              opt.Filter
}

func newPrune(s *session.Session) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove everything that nothing uses",
		Args:  session.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, s)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.all, "all", "a", false, "Remove every image without a container, not just dangling ones")
	fs.BoolVarP(&o.force, "force", "f", false, "Do not ask for confirmation")
	fs.BoolVar(&o.volumes, "volumes", false, "Remove anonymous volumes, too")
	fs.Var(&o.filter, "filter", `Only what matches (e.g. "label=<key>=<value>")`)
	return cmd
}

func (o *pruneOptions) warning(filters client.Filters) string {
	lines := []string{"all stopped containers", "all networks not used by at least one container"}
	if o.volumes {
		lines = append(lines, "all anonymous volumes not used by at least one container")
	}
	if o.all {
		lines = append(lines, "all images without at least one container associated to them", "all build cache")
	} else {
		lines = append(lines, "all dangling images", "unused build cache")
	}
	text := "WARNING! This will remove:\n  - " + strings.Join(lines, "\n  - ") + "\n"
	if len(filters) > 0 {
		text += "\n  Items to be pruned will be filtered with:\n"
		for _, k := range render.SortedKeys(filters) {
			for _, v := range render.SortedKeys(filters[k]) {
				text += "  - " + k + "=" + v + "\n"
			}
		}
	}
	return text
}

func (o *pruneOptions) run(cmd *cobra.Command, s *session.Session) error {
	ctx := cmd.Context()
	filters := s.PruneFilters(o.filter.Values)
	if _, ok := filters["until"]; ok && o.volumes {
		return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
	}
	if !o.force {
		if err := s.Confirm(o.warning(filters)); err != nil {
			return err
		}
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	var freed uint64
	containers, err := c.ContainerPrune(ctx, client.ContainerPruneOptions{Filters: filters})
	if err != nil {
		return err
	}
	freed += containers.Report.SpaceReclaimed
	deleted(s, "Containers", containers.Report.ContainersDeleted)
	networks, err := c.NetworkPrune(ctx, client.NetworkPruneOptions{Filters: filters})
	if err != nil {
		return err
	}
	deleted(s, "Networks", networks.Report.NetworksDeleted)
	if o.volumes {
		volumes, err := c.VolumePrune(ctx, client.VolumePruneOptions{Filters: filters})
		if err != nil {
			return err
		}
		freed += volumes.Report.SpaceReclaimed
		deleted(s, "Volumes", volumes.Report.VolumesDeleted)
	}
	imageFilters := client.Filters{}
	for k, v := range filters {
		imageFilters[k] = v
	}
	imageFilters.Add("dangling", fmt.Sprint(!o.all))
	images, err := c.ImagePrune(ctx, client.ImagePruneOptions{Filters: imageFilters})
	if err != nil {
		return err
	}
	freed += images.Report.SpaceReclaimed
	var names []string
	for _, d := range images.Report.ImagesDeleted {
		if d.Untagged != "" {
			names = append(names, "untagged: "+d.Untagged)
		} else {
			names = append(names, "deleted: "+d.Deleted)
		}
	}
	deleted(s, "Images", names)
	cache, err := c.BuildCachePrune(ctx, client.BuildCachePruneOptions{All: o.all, Filters: filters})
	if err != nil {
		return err
	}
	freed += cache.Report.SpaceReclaimed
	deleted(s, "build cache objects", cache.Report.CachesDeleted)
	fmt.Fprintln(s.Out, "Total reclaimed space:", render.HumanSize(freed))
	return nil
}

func deleted(s *session.Session, what string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(s.Out, "Deleted %s:\n%s\n\n", what, strings.Join(names, "\n"))
	}
}
