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

// pattern is a route with one variable: prefix, anything, suffix. With two, last is
// what stands before the second, which is at the end.
type pattern struct {
	prefix, suffix, last string
	route                *route
}

// newMatcher indexes routes. A path holds at most two "{variables}".
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
		last, _, two := strings.Cut(suffix, "{")
		if two {
			suffix = ""
		} else {
			last = ""
		}
		key := r.method + " " + firstSegment(r.path)
		m.variable[key] = append(m.variable[key], pattern{prefix, suffix, last, r})
	}
	for _, patterns := range m.variable {
		slices.SortStableFunc(patterns, func(a, b pattern) int {
			return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(len(b.last), len(a.last)), cmp.Compare(len(b.suffix), len(a.suffix)))
		})
	}
	return m
}

// match finds the route for a method and a path without version prefix, and
// the values of its variables. A leading slash of the value is dropped:
// container names are known with one, too.
func (m *matcher) match(method, path string) (r *route, name, part string) {
	if r := m.exact[method+" "+path]; r != nil {
		return r, "", ""
	}
	for _, p := range m.variable[method+" "+firstSegment(path)] {
		if len(path) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(path, p.prefix) || !strings.HasSuffix(path, p.suffix) {
			continue
		}
		name := strings.TrimPrefix(path[len(p.prefix):len(path)-len(p.suffix)], "/")
		if p.last != "" {
			i := strings.LastIndex(name, p.last)
			if i <= 0 || i+len(p.last) == len(name) {
				continue
			}
			name, part = name[:i], name[i+len(p.last):]
		}
		// An empty name in the middle is no route; at the end the handler
		// says in Docker's words what is missing.
		if name == "" && p.suffix != "" {
			continue
		}
		return p.route, name, part
	}
	return nil, "", ""
}

func firstSegment(path string) string {
	path = strings.TrimPrefix(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return path
}
