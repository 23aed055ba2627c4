package system

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/client"
)

func writeCache(w io.Writer, du *client.DiskUsageResult) error {
	items := du.BuildCache.Items
	slices.SortStableFunc(items, func(a, b build.CacheRecord) int {
		return cmp.Or(lastUse(a).Compare(lastUse(b)), cmp.Compare(a.ID, b.ID))
	})
	rows := make([]render.Row, len(items))
	for i := range items {
		rows[i] = &cacheRow{c: &items[i]}
	}
	return render.Listing{
		Columns: []string{"ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"},
		Headers: render.Headers{
			"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED",
			"LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED",
		},
	}.Write(w, rows)
}

func lastUse(r build.CacheRecord) time.Time {
	if r.LastUsedAt == nil {
		return time.Time{}
	}
	return *r.LastUsedAt
}

// cacheRow is a record of the build cache; its methods are the placeholders.
type cacheRow struct {
	render.Base
	c *build.CacheRecord
}

func (r *cacheRow) ID() string {
	id := render.ShortID(r.c.ID)
	if r.c.InUse {
		id += "*"
	}
	return id
}
func (r *cacheRow) CacheType() string    { return r.c.Type }
func (r *cacheRow) Size() string         { return render.Size(r.c.Size) }
func (r *cacheRow) CreatedSince() string { return ago(r.c.CreatedAt) }
func (r *cacheRow) UsageCount() string   { return strconv.Itoa(r.c.UsageCount) }
func (r *cacheRow) Shared() string       { return strconv.FormatBool(r.c.Shared) }

func (r *cacheRow) LastUsedSince() string {
	if r.c.LastUsedAt == nil {
		return ""
	}
	return ago(*r.c.LastUsedAt)
}

func ago(t time.Time) string { return units.HumanDuration(time.Now().UTC().Sub(t)) + " ago" }
