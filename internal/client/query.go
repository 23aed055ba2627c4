package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Filters selects objects: for each term, one of its values must match.
type Filters map[string]map[string]bool

// Add adds values to a term and returns f, which must not be nil.
func (f Filters) Add(term string, values ...string) Filters {
	if f[term] == nil {
		f[term] = map[string]bool{}
	}
	for _, v := range values {
		f[term][v] = true
	}
	return f
}

// params builds a query. What is false or empty is left out.
type params url.Values

func (p params) flag(name string, on bool) {
	if on {
		p.text(name, "1")
	}
}

func (p params) text(name, value string) {
	if value != "" {
		p[name] = []string{value}
	}
}

func (p params) filters(f Filters) {
	if len(f) > 0 {
		doc, _ := json.Marshal(f) // maps of strings and bools have no error
		p.text("filters", string(doc))
	}
}

// platforms adds platforms as JSON, each once.
func (p params) platforms(name string, list ...ocispec.Platform) error {
	seen := map[string]bool{}
	for _, platform := range list {
		doc, err := json.Marshal(platform)
		if err != nil {
			return fmt.Errorf("invalid platform: %w", err)
		}
		if !seen[string(doc)] {
			seen[string(doc)] = true
			p[name] = append(p[name], string(doc))
		}
	}
	return nil
}

func (p params) time(name, value string, now time.Time) error {
	if value == "" {
		return nil
	}
	t, err := timestamp(value, now)
	p.text(name, t)
	return err
}

// platformName is the short form of a platform, "" without an OS.
func platformName(p ocispec.Platform) string {
	if p.OS == "" {
		return ""
	}
	return path.Join(p.OS, p.Architecture, p.Variant)
}

// timestamp turns what people write into seconds since 1970: a duration before
// now, a date or a time with or without a zone. Such seconds stay as they are.
func timestamp(value string, now time.Time) (string, error) {
	if d, err := time.ParseDuration(value); err == nil && value != "0" {
		return strconv.FormatInt(now.Add(-d).Unix(), 10), nil
	}
	zone := time.FixedZone(now.Zone())
	t, err := time.ParseInLocation(timeLayout(value), value, zone)
	switch {
	case err == nil:
		return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()), nil
	case strings.Contains(value, "-"):
		return "", err // it was to be a date
	case isSeconds(value):
		return value, nil
	}
	return "", fmt.Errorf("failed to parse value as time or duration: %q", value)
}

// timeLayout guesses the layout of a time from its length and whether it ends
// in a zone.
func timeLayout(value string) string {
	zoned := strings.ContainsAny(value, "zZ+") || strings.Count(value, "-") == 3
	colons := strings.Count(value, ":")
	if zoned && !strings.ContainsAny(value, "zZ") && colons > 0 {
		colons-- // that of the zone
	}
	layout := "2006-01-02"
	switch {
	case strings.Contains(value, "."):
		layout = "2006-01-02T15:04:05.999999999"
	case !strings.Contains(value, "T"):
	case colons == 0:
		layout = "2006-01-02T15"
	case colons == 1:
		layout = "2006-01-02T15:04"
	default:
		layout = "2006-01-02T15:04:05"
	}
	if zoned {
		layout += "Z07:00"
	}
	return layout
}

func isSeconds(value string) bool {
	seconds, fraction, ok := strings.Cut(value, ".")
	_, err := strconv.ParseInt(seconds, 10, 64)
	if err == nil && ok {
		_, err = strconv.ParseInt(fraction, 10, 64)
	}
	return err == nil
}
