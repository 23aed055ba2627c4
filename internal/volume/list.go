package volume

import (
	"context"
	"regexp"
	"slices"
	"strings"

	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Inspect gives one volume by its full name; errs.NotFound if there is none.
func (s *Service) Inspect(_ context.Context, name string) (volumetypes.Volume, error) {
	v, err := s.find(name)
	if err != nil {
		return volumetypes.Volume{}, err
	}
	return v.api(), nil
}

// List gives the volumes that match all filters (dangling, driver, label,
// name), by name. An unknown filter or value is errs.InvalidArgument.
func (s *Service) List(_ context.Context, filters engine.Filters) (volumetypes.ListResponse, error) {
	if err := checkFilters(filters, "dangling", "driver", "label", "name"); err != nil {
		return volumetypes.ListResponse{}, err
	}
	dangling, asked, err := boolFilter(filters, "dangling")
	if err != nil {
		return volumetypes.ListResponse{}, err
	}
	out := volumetypes.ListResponse{Volumes: []volumetypes.Volume{}}
	for _, v := range s.all() {
		if !matchDriver(filters, v.Driver) || !matchName(filters, v.Name) || !matchLabels(filters, v.Labels) {
			continue
		}
		if asked && dangling != (len(s.users(v.Name)) == 0) {
			continue
		}
		out.Volumes = append(out.Volumes, v.api())
	}
	return out, nil
}

func checkFilters(filters engine.Filters, known ...string) error {
	for key := range filters {
		if !slices.Contains(known, key) {
			return errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
		}
	}
	return nil
}

// boolFilter reads a filter whose values are truths; they must agree.
func boolFilter(filters engine.Filters, key string) (value, set bool, err error) {
	values, set := filters[key]
	if !set {
		return false, false, nil
	}
	no := slices.Contains(values, "0") || slices.Contains(values, "false")
	yes := slices.Contains(values, "1") || slices.Contains(values, "true")
	if yes == no {
		return false, false, errs.New(errs.InvalidArgument, "invalid filter '%s=%s'", key, values)
	}
	return yes, true, nil
}

func matchDriver(filters engine.Filters, driver string) bool {
	return len(filters["driver"]) == 0 || slices.Contains(filters["driver"], driver)
}

// matchName takes the values as regular expressions, found anywhere in the name.
func matchName(filters engine.Filters, name string) bool {
	values := filters["name"]
	if len(values) == 0 || slices.Contains(values, name) {
		return true
	}
	return slices.ContainsFunc(values, func(v string) bool {
		found, err := regexp.MatchString(v, name)
		return err == nil && found
	})
}

// matchLabels wants every value of "label" and, together, none of "label!".
func matchLabels(filters engine.Filters, labels map[string]string) bool {
	if want := filters["label"]; len(want) > 0 && !hasLabels(want, labels) {
		return false
	}
	without := filters["label!"]
	return len(without) == 0 || !hasLabels(without, labels)
}

func hasLabels(want []string, labels map[string]string) bool {
	for _, w := range want {
		key, value, valued := strings.Cut(w, "=")
		got, ok := labels[key]
		if !ok || valued && got != value {
			return false
		}
	}
	return true
}
