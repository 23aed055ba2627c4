package image

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
)

// Inspect describes one image.
func (s *Service) Inspect(ctx context.Context, name string) (imagetypes.InspectResponse, error) {
	e, _, err := s.find(name)
	if err != nil {
		return imagetypes.InspectResponse{}, err
	}
	config := e.configCopy()
	desc := e.manifest
	out := imagetypes.InspectResponse{
		ID: e.id.String(), RepoTags: e.repoTags(), RepoDigests: e.repoDigests(),
		Comment: comment(e), Author: e.config.Author, Config: &config,
		Architecture: e.config.Architecture, Variant: e.config.Variant, Os: e.config.OS, OsVersion: e.config.OSVersion,
		Size: e.size, GraphDriver: s.driverData(scoped(ctx), e),
		RootFS:   imagetypes.RootFS{Type: "layers"},
		Metadata: imagetypes.Metadata{LastTagTime: e.tagged}, Descriptor: &desc,
	}
	if e.config.Created != nil {
		out.Created = e.config.Created.Format(time.RFC3339Nano)
	}
	for _, l := range e.layers {
		out.RootFS.Layers = append(out.RootFS.Layers, l.diffID.String())
	}
	return out, nil
}

// comment is the last history entry's, which is where tools put it.
func comment(e *entry) string {
	if n := len(e.config.History); n > 0 {
		return e.config.History[n-1].Comment
	}
	return ""
}

// driverData tells where the layers are, in the way that scripts read it.
func (s *Service) driverData(ctx context.Context, e *entry) *storage.DriverData {
	data := &storage.DriverData{Name: s.store.Driver, Data: map[string]string{}}
	if e.chain() == "" {
		return data
	}
	dirs, err := s.layerDirs(ctx, e.chain())
	if err != nil {
		return data // not unpacked
	}
	data.Data["UpperDir"] = dirs[0]
	if s.store.Driver == driverOverlay {
		data.Data["WorkDir"] = filepath.Join(filepath.Dir(dirs[0]), "work")
	}
	if len(dirs) > 1 {
		data.Data["LowerDir"] = strings.Join(dirs[1:], ":")
	}
	return data
}

// History lists an image's steps, the newest first.
func (s *Service) History(_ context.Context, name string) ([]imagetypes.HistoryResponseItem, error) {
	e, _, err := s.find(name)
	if err != nil {
		return nil, err
	}
	out := []imagetypes.HistoryResponseItem{}
	next := 0
	for _, h := range e.config.History {
		item := imagetypes.HistoryResponseItem{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && next < len(e.layers) {
			item.Size = e.layers[next].size
			next++
		}
		out = append([]imagetypes.HistoryResponseItem{item}, out...)
	}
	// Docker's own words for a config that says less than its layers.
	for ; next < len(e.layers); next++ {
		out = append([]imagetypes.HistoryResponseItem{{ID: "<missing>", Size: e.layers[next].size}}, out...)
	}
	if len(out) > 0 {
		out[0].ID = e.id.String()
		if tags := e.repoTags(); len(tags) > 0 {
			out[0].Tags = tags
		}
	}
	return out, nil
}
