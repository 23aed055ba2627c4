package httpapi

import (
	"encoding/json"
	"slices"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// decodeFilters decodes the `filters` query parameter, {"key":{"value":true}}
// as today's clients send it or {"key":["value"]} as older ones do. Values
// come sorted, since the first form has no order.
func decodeFilters(s string) (engine.Filters, error) {
	filters := engine.Filters{}
	if s == "" {
		return filters, nil
	}
	var sets map[string]map[string]bool
	if json.Unmarshal([]byte(s), &sets) == nil {
		for key, set := range sets {
			values := make([]string, 0, len(set))
			// {"value":false} is a value all the same: Docker never looks at the boolean.
			for value := range set {
				values = append(values, value)
			}
			slices.Sort(values)
			filters[key] = values
		}
		return filters, nil
	}
	var lists map[string][]string
	if json.Unmarshal([]byte(s), &lists) != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid filter")
	}
	for key, values := range lists {
		values = slices.Clone(values)
		slices.Sort(values)
		filters[key] = slices.Compact(values)
	}
	return filters, nil
}
