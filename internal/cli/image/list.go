package image

import (
	"slices"
	"strconv"
	"strings"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/reference"
)

type listOptions struct {
	quiet, all, noTrunc, digests bool
	format                       string
	filter                       opt.Filter
}

// NewList makes the command "images", or "ls" below the noun.
func NewList(s *session.Session, name string) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:         name + " [OPTIONS] [REPOSITORY[:TAG]]",
		Short:       "List images",
		Args:        session.MaxArgs(1),
		Annotations: aliases("image ls", "image list", "images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, s, args)
		},
		ValidArgsFunction: completeImages(s, 1),
	}
	if name == "ls" {
		cmd.Aliases = []string{"list"}
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "Show only image IDs")
	fs.BoolVarP(&o.all, "all", "a", false, "Show intermediate images, too")
	fs.BoolVar(&o.noTrunc, "no-trunc", false, "Do not shorten the output")
	fs.BoolVar(&o.digests, "digests", false, "Show digests")
	fs.StringVar(&o.format, "format", "", session.ListFormatHelp)
	fs.VarP(&o.filter, "filter", "f", "Show only what matches")
	return cmd
}

func (o *listOptions) run(cmd *cobra.Command, s *session.Session, args []string) error {
	filters := client.Filters{}
	for k, v := range o.filter.Values {
		filters[k] = v
	}
	if len(args) > 0 {
		filters.Add("reference", args[0])
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	res, err := c.ImageList(cmd.Context(), client.ImageListOptions{All: o.all, Filters: filters})
	if err != nil {
		return err
	}
	format := o.format
	if format == "" && !o.quiet {
		format = s.Config().ImagesFormat
	}
	l := imageListing()
	l.Format, l.Quiet = format, o.quiet
	if o.digests {
		l.Columns = []string{"Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"}
	}
	return l.Write(s.Out, Rows(res.Items, !o.noTrunc, o.digests || strings.Contains(format, ".Digest")))
}

func imageListing() render.Listing {
	return render.Listing{
		Key:     "ID",
		Columns: []string{"Repository", "Tag", "ID", "CreatedSince", "Size"},
		Headers: Headers(),
		Raw:     `repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n`,
	}
}

// Headers are the headings of an image's columns.
func Headers() render.Headers {
	return render.Headers{
		"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST",
		"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
		"Containers": "CONTAINERS", "VirtualSize": "SIZE", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
	}
}

// Rows makes a row for each name of each image. Without digests an image that
// has only digests has one row.
func Rows(items []imagetypes.Summary, trunc, digests bool) []render.Row {
	var rows []render.Row
	for i := range items {
		img := &items[i]
		for _, n := range namesOf(img, digests) {
			rows = append(rows, &Row{img: img, trunc: trunc, repo: n.repo, tag: n.tag, digest: n.digest})
		}
	}
	return rows
}

// absent stands for a part of a name that there is not.
const absent = "<none>"

type imageName struct{ repo, tag, digest string }

func namesOf(img *imagetypes.Summary, digests bool) []imageName {
	tags := map[string][]string{}
	sums := map[string][]string{}
	var repos []string
	seen := func(repo string) {
		if !slices.Contains(repos, repo) {
			repos = append(repos, repo)
		}
	}
	for _, ref := range img.RepoTags {
		if r, err := reference.Parse(ref); err == nil && r.Tag != "" {
			repo := r.FamiliarName()
			seen(repo)
			tags[repo] = append(tags[repo], r.Tag)
		}
	}
	for _, ref := range img.RepoDigests {
		if r, err := reference.Parse(ref); err == nil && r.Digest != "" {
			repo := r.FamiliarName()
			seen(repo)
			sums[repo] = append(sums[repo], r.Digest)
		}
	}
	var out []imageName
	for _, repo := range repos {
		out = append(out, namesIn(repo, tags[repo], sums[repo], digests)...)
	}
	if len(out) == 0 {
		return []imageName{{absent, absent, absent}}
	}
	return out
}

func namesIn(repo string, tags, sums []string, digests bool) []imageName {
	if len(tags) == 0 {
		if !digests {
			return []imageName{{repo, absent, absent}}
		}
		var out []imageName
		for _, d := range sums {
			out = append(out, imageName{repo, absent, d})
		}
		return out
	}
	if !digests || len(sums) == 0 {
		sums = []string{absent}
	}
	var out []imageName
	for _, tag := range tags {
		for _, d := range sums {
			out = append(out, imageName{repo, tag, d})
		}
	}
	return out
}

// Row is one name of an image; its methods are the placeholders.
type Row struct {
	render.Base
	img               *imagetypes.Summary
	trunc             bool
	repo, tag, digest string
}

// ID is the image's ID.
func (r *Row) ID() string {
	if r.trunc {
		return render.ShortID(r.img.ID)
	}
	return r.img.ID
}

// Repository is the name without tag.
func (r *Row) Repository() string { return r.repo }

// Tag is the tag.
func (r *Row) Tag() string { return r.tag }

// Digest is the manifest's digest.
func (r *Row) Digest() string { return r.digest }

// CreatedSince is the image's age.
func (r *Row) CreatedSince() string {
	if r.img.Created <= 0 {
		return "N/A"
	}
	return render.Ago(r.img.Created)
}

// CreatedAt is the time of creation.
func (r *Row) CreatedAt() string { return time.Unix(r.img.Created, 0).String() }

// Size is what the image takes, unpacked.
func (r *Row) Size() string { return render.Size(r.img.Size) }

// VirtualSize is an old name of Size.
func (r *Row) VirtualSize() string { return render.HumanSize(uint64(max(0, r.img.Size))) }

// Containers is the number of the image's containers.
func (r *Row) Containers() string {
	if r.img.Containers == -1 {
		return "N/A"
	}
	return strconv.FormatInt(r.img.Containers, 10)
}

// SharedSize is what other images have in common with this one.
func (r *Row) SharedSize() string {
	if r.img.SharedSize == -1 {
		return "N/A"
	}
	return render.HumanSize(uint64(max(0, r.img.SharedSize)))
}

// UniqueSize is what only this image has.
func (r *Row) UniqueSize() string {
	if r.img.Size == -1 || r.img.SharedSize == -1 {
		return "N/A"
	}
	return render.HumanSize(uint64(max(0, r.img.Size-r.img.SharedSize)))
}
