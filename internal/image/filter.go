package image

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// matcher tells whether an image is wanted, and with which of its names; nil
// is no.
type matcher func(*entry) *entry

// compileFilters checks the filters of a list. Values of one key are
// alternatives, except labels, which must all be there.
func compileFilters(x *index, f engine.Filters) (matcher, error) {
	if err := knownFilters(f, "dangling", "reference", "label", "label!", "before", "since", "until"); err != nil {
		return nil, err
	}
	dangling, given, err := boolFilter(f, "dangling")
	if err != nil {
		return nil, err
	}
	before, since, err := timeFilters(x, f)
	if err != nil {
		return nil, err
	}
	patterns, err := parsePatterns(f["reference"])
	if err != nil {
		return nil, err
	}
	return func(e *entry) *entry {
		switch {
		case given && dangling != (len(e.refs) == 0),
			!before.IsZero() && !e.created().Before(before),
			!since.IsZero() && !e.created().After(since),
			!matchLabels(e.config.Config.Labels, f):
			return nil
		}
		if len(patterns) == 0 {
			return e
		}
		shown := e.narrowed(func(r record) bool { return matchAny(patterns, r) })
		if len(shown.refs) == 0 {
			return nil
		}
		return shown
	}, nil
}

func knownFilters(f engine.Filters, known ...string) error {
	for key := range f {
		if !slices.Contains(known, key) {
			return errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
		}
	}
	return nil
}

// boolFilter reads a filter that takes one truth value.
func boolFilter(f engine.Filters, key string) (value, given bool, err error) {
	for i, v := range f[key] {
		b, err := strconv.ParseBool(v)
		if err != nil || i > 0 && b != value {
			return false, false, errs.New(errs.InvalidArgument, "invalid filter '%s=%v'", key, f[key])
		}
		value, given = b, true
	}
	return value, given, nil
}

// timeFilters joins before, since and until into one span; zero is open.
func timeFilters(x *index, f engine.Filters) (before, since time.Time, err error) {
	for _, ref := range f["before"] {
		e, _, err := x.find(ref)
		if err != nil {
			return before, since, err
		}
		if t := e.created(); before.IsZero() || t.Before(before) {
			before = t
		}
	}
	for _, v := range f["until"] {
		t, err := parseUntil(v)
		if err != nil {
			return before, since, err
		}
		if before.IsZero() || t.Before(before) {
			before = t
		}
	}
	for _, ref := range f["since"] {
		e, _, err := x.find(ref)
		if err != nil {
			return before, since, err
		}
		if t := e.created(); t.After(since) {
			since = t
		}
	}
	return before, since, nil
}

// parseUntil reads a moment: seconds since 1970 with fractions, RFC 3339, a
// date, or a duration before now.
func parseUntil(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, errs.New(errs.InvalidArgument, "invalid filter 'until=%s'", s)
	}
	ns, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, errs.New(errs.InvalidArgument, "invalid filter 'until=%s'", s)
	}
	return time.Unix(n, ns), nil
}

func matchLabels(have map[string]string, f engine.Filters) bool {
	has := func(want string) bool {
		key, value, exact := strings.Cut(want, "=")
		got, ok := have[key]
		return ok && (!exact || got == value)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

// parsePatterns checks the reference filters' glob patterns.
func parsePatterns(patterns []string) ([]string, error) {
	probe, err := reference.ParseNormalizedNamed("probe")
	if err != nil {
		return nil, err
	}
	for _, p := range patterns {
		if _, err := reference.FamiliarMatch(p, probe); err != nil {
			return nil, errs.New(errs.InvalidArgument, "invalid filter 'reference=%s'", p)
		}
	}
	return patterns, nil
}

func matchAny(patterns []string, r record) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := reference.FamiliarMatch(p, r.name)
		return err == nil && ok
	})
}
