package httpapi

import (
	"cmp"
	"slices"
	"strings"
)

// matcher finds the route of a request. Names in paths may contain slashes
// (an image called "registry.example/team/app"), so a variable takes
// everything between the fixed parts before and after it. It is read-only once
// built and safe for concurrent use.
type matcher struct {
	exact    map[string]*route    // by method and path
	variable map[string][]pattern // by method and first path segment, longest suffix first
}

// pattern is a route with one variable: prefix, anything, suffix.
type pattern struct {
	prefix, suffix string
	route          *route
}

// newMatcher indexes routes. A path holds at most one "{variable}".
func newMatcher(routes []route) *matcher {
	m := &matcher{exact: map[string]*route{}, variable: map[string][]pattern{}}
	for i := range routes {
		r := &routes[i]
		prefix, rest, isVariable := strings.Cut(r.path, "{")
		if !isVariable {
			m.exact[r.method+" "+r.path] = r
			continue
		}
		_, suffix, _ := strings.Cut(rest, "}")
		key := r.method + " " + firstSegment(r.path)
		m.variable[key] = append(m.variable[key], pattern{prefix, suffix, r})
	}
	for _, patterns := range m.variable {
		slices.SortStableFunc(patterns, func(a, b pattern) int {
			return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(len(b.suffix), len(a.suffix)))
		})
	}
	return m
}

// match finds the route for a method and a path without version prefix, and
// the value of its variable. A leading slash of the value is dropped:
// container names are known with one, too.
func (m *matcher) match(method, path string) (r *route, name string) {
	if r := m.exact[method+" "+path]; r != nil {
		return r, ""
	}
	for _, p := range m.variable[method+" "+firstSegment(path)] {
		if len(path) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(path, p.prefix) || !strings.HasSuffix(path, p.suffix) {
			continue
		}
		name := strings.TrimPrefix(path[len(p.prefix):len(path)-len(p.suffix)], "/")
		// An empty name in the middle is no route; at the end the handler
		// says in Docker's words what is missing.
		if name == "" && p.suffix != "" {
			continue
		}
		return p.route, name
	}
	return nil, ""
}

func firstSegment(path string) string {
	path = strings.TrimPrefix(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return path
}
