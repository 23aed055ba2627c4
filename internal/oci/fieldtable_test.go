package oci

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

// fieldsOf lists the names of all fields of a type of the specification as they are
// written in JSON, those for other platforms excepted.
func fieldsOf(prefix string, t reflect.Type) (all []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{prefix}
	}
	for f := range t.Fields() {
		platform := f.Tag.Get("platform")
		if platform != "" && !strings.Contains(platform, "linux") {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, fieldsOf(strings.TrimPrefix(prefix+"."+name, "."), f.Type)...)
	}
	return all
}

// TestFieldTable compares docs/reference/runtime.md with the specification's types
// and with the tests that it names.
func TestFieldTable(t *testing.T) {
	const table = "../../docs/reference/runtime.md"
	testenv.Need(t, testenv.File(table))
	doc, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	listed, tests := map[string]bool{}, map[string]bool{}
	code, test := regexp.MustCompile("`([a-zA-Z.]+)`"), regexp.MustCompile(`\bTest\w+`)
	for line := range strings.Lines(string(doc)) {
		columns := strings.Split(line, "|")
		if len(columns) != 5 {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(columns[1], -1) {
			listed[m[1]] = true
		}
		for _, name := range test.FindAllString(columns[3], -1) {
			tests[name] = true
		}
	}
	for _, field := range fieldsOf("", reflect.TypeFor[specs.Spec]()) {
		found := false
		for prefix := field; prefix != "" && !found; prefix = prefix[:max(strings.LastIndexByte(prefix, '.'), 0)] {
			found = listed[prefix]
		}
		if !found {
			t.Errorf("the table lacks %s", field)
		}
	}
	var sources strings.Builder
	for _, pattern := range []string{"*_test.go", "../linux/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(data)
		}
	}
	for name := range tests {
		if !strings.Contains(sources.String(), "func "+name+"(") {
			t.Errorf("the table names %s, which does not exist", name)
		}
	}
	if len(listed) < 50 || len(tests) < 30 {
		t.Errorf("%d fields, %d tests", len(listed), len(tests))
	}
}
