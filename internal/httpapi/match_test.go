package httpapi

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	m := newMatcher(routes)
	for _, tt := range []struct{ method, path, route, name string }{
		{"POST", "/containers/web/checkpoints", "/containers/{name}/checkpoints", "web"},
		{"DELETE", "/containers/web/checkpoints", "/containers/{name}", "web/checkpoints"},
		{"DELETE", "/containers/web/checkpoints/", "/containers/{name}", "web/checkpoints/"},
		{"DELETE", "/containers/web/checkpoints/one", "/containers/{name}/checkpoints/{checkpoint}", "web one"},
		{"DELETE", "/containers/web/checkpoints/../x", "/containers/{name}/checkpoints/{checkpoint}", "web ../x"},
		{"GET", "/_ping", "/_ping", ""},
		{"GET", "/containers/json", "/containers/json", ""},
		{"GET", "/containers/web/json", "/containers/{name}/json", "web"},
		{"GET", "/containers//web/json", "/containers/{name}/json", "web"},
		{"GET", "/containers/web/attach/ws", "/containers/{name}/attach/ws", "web"},
		{"POST", "/containers/web/attach", "/containers/{name}/attach", "web"},
		{"GET", "/images/json", "/images/json", ""},
		{"GET", "/images/json/json", "/images/{name}/json", "json"},
		{"GET", "/images/registry.example:5000/team/app:1/json", "/images/{name}/json", "registry.example:5000/team/app:1"},
		{"GET", "/images/a/json/history", "/images/{name}/history", "a/json"},
		{"DELETE", "/images/a/b/c@sha256:0", "/images/{name}", "a/b/c@sha256:0"},
		{"DELETE", "/images/", "/images/{name}", ""},
		{"GET", "/networks/", "/networks/", ""},
		{"GET", "/networks/x", "/networks/{name}", "x"},
		{"POST", "/volumes/create", "/volumes/create", ""},
		{"GET", "/containers//json", "", ""},
		{"GET", "/containers", "", ""},
		{"PUT", "/containers/json", "", ""},
		{"GET", "", "", ""},
		{"GET", "/", "", ""},
		{"GET", "//", "", ""},
	} {
		r, name, part := m.match(tt.method, tt.path)
		got := ""
		if r != nil {
			got = r.path
		}
		if part != "" {
			name += " " + part
		}
		if got != tt.route || name != tt.name {
			t.Errorf("%s %s: got %q %q, want %q %q", tt.method, tt.path, got, name, tt.route, tt.name)
		}
	}
}

func TestRoutesAreUnambiguous(t *testing.T) {
	seen := map[string]bool{}
	m := newMatcher(routes)
	for i := range routes {
		r := &routes[i]
		key := r.method + " " + r.path
		if seen[key] || strings.Count(r.path, "{") > 2 || r.handle == nil {
			t.Errorf("bad route %s", key)
		}
		seen[key] = true
		path := r.path
		if before, after, ok := strings.Cut(path, "{"); ok {
			_, suffix, _ := strings.Cut(after, "}")
			path = before + "some/name" + suffix
		}
		if got, _, _ := m.match(r.method, path); got != r {
			t.Errorf("%s is shadowed by %v", key, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, r := range routes {
		f.Add(r.method, r.path)
	}
	f.Add("GET", "/v1.41/images/a//b/json")
	m := newMatcher(routes)
	f.Fuzz(func(t *testing.T, method, path string) {
		splitVersion(path)
		r, name, part := m.match(method, path)
		if r == nil {
			return
		}
		prefix, rest, variable := strings.Cut(r.path, "{")
		if !variable {
			if path != r.path || name != "" {
				t.Fatalf("%q matched %q with name %q", path, r.path, name)
			}
			return
		}
		_, suffix, _ := strings.Cut(rest, "}")
		if last, _, two := strings.Cut(suffix, "{"); two {
			suffix = last + part
		}
		if path != prefix+name+suffix && path != prefix+"/"+name+suffix {
			t.Fatalf("%q matched %q with name %q", path, r.path, name)
		}
		if name == "" && suffix != "" {
			t.Fatalf("%q matched %q with an empty name", path, r.path)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	m := newMatcher(routes)
	for b.Loop() {
		m.match("POST", "/containers/0123456789abcdef/start")
	}
}

func TestSplitVersion(t *testing.T) {
	for _, tt := range []struct {
		path, rest    string
		v             version
		versioned, ok bool
	}{
		{"/v1.41/info", "/info", version{1, 41}, true, true},
		{"/v1.41.7/info", "/info", version{1, 41}, true, true},
		{"/v2/info", "/info", version{2, 0}, true, true},
		{"/info", "/info", version{}, false, true},
		{"/version", "/version", version{}, false, true},
		{"/volumes", "/volumes", version{}, false, true},
		{"/v1.x/info", "/info", version{}, true, false},
		{"/v1.41", "/v1.41", version{}, false, false},
	} {
		v, rest, versioned, ok := splitVersion(tt.path)
		if ok != tt.ok || versioned != tt.versioned || rest != tt.rest || ok && v != tt.v {
			t.Errorf("%s: got %v %q %v %v", tt.path, v, rest, versioned, ok)
		}
	}
}
