package httpapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

func TestDecodeFilters(t *testing.T) {
	for in, want := range map[string]engine.Filters{
		"":                                  {},
		"{}":                                {},
		"null":                              {},
		`{"label":{"b":true,"a":true}}`:     {"label": {"a", "b"}},
		`{"label":{"a":false}}`:             {"label": {"a"}},
		`{"label":["b","a","b"]}`:           {"label": {"a", "b"}},
		`{"status":["x"],"name":[]}`:        {"status": {"x"}, "name": {}},
		`{"dangling":{}}`:                   {"dangling": {}},
		`{"a":{"x=y":true},"b":{"":true}}`:  {"a": {"x=y"}, "b": {""}},
		`{"until":["2026-01-02T03:04:05"]}`: {"until": {"2026-01-02T03:04:05"}},
	} {
		got, err := decodeFilters(in)
		if err != nil || len(got) != len(want) {
			t.Errorf("%s: %v %v", in, got, err)
			continue
		}
		for key, values := range want {
			if !slices.Equal(got[key], values) {
				t.Errorf("%s: got %v, want %v", in, got, want)
			}
		}
	}
	for _, in := range []string{"x", "[]", `{"a":1}`, `{"a":{"b":1}}`, `{"a":["b"],"c":{"d":true}}`} {
		if _, err := decodeFilters(in); !errs.Is(err, errs.InvalidArgument) || err.Error() != "invalid filter" {
			t.Errorf("%s: got %v", in, err)
		}
	}
}

func FuzzDecodeFilters(f *testing.F) {
	f.Add(`{"label":{"a":true}}`)
	f.Add(`{"label":["a","b"]}`)
	f.Fuzz(func(t *testing.T, in string) {
		got, err := decodeFilters(in)
		if err != nil {
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		round, err := decodeFilters(string(again))
		if err != nil || len(round) != len(got) {
			t.Fatalf("%s does not survive a round: %v %v", in, round, err)
		}
		for key := range got {
			if !slices.IsSorted(got[key]) || len(got[key]) > 0 && !reflect.DeepEqual(got[key], round[key]) {
				t.Fatalf("%s: %v became %v", in, got[key], round[key])
			}
		}
	})
}

func TestParseTimestamp(t *testing.T) {
	for in, want := range map[string]time.Time{
		"0":                      time.Unix(0, 0),
		"1136073600":             time.Unix(1136073600, 0),
		"1136073600.5":           time.Unix(1136073600, 500000000),
		"1136073600.000000001":   time.Unix(1136073600, 1),
		"1136073600.00000000123": time.Unix(1136073600, 1),
		"-1":                     time.Unix(-1, 0),
	} {
		if got, err := parseTimestamp(in); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "1.-5", "1.x", ".", "2026-01-01"} {
		if got, err := parseTimestamp(in); err == nil {
			t.Errorf("%s: got %v", in, got)
		}
	}
}
