package httpapi

import (
	"expvar"
	"net/http"
	"net/http/pprof"
)

// debugRoutes are served in debug mode only: profiles tell much about a daemon.
var debugRoutes = []route{
	{method: "GET", path: "/debug/vars", handle: plain(expvar.Handler())},
	{method: "GET", path: "/debug/pprof/", handle: plain(http.HandlerFunc(pprof.Index))},
	{method: "GET", path: "/debug/pprof/cmdline", handle: plain(http.HandlerFunc(pprof.Cmdline))},
	{method: "GET", path: "/debug/pprof/profile", handle: plain(http.HandlerFunc(pprof.Profile))},
	{method: "GET", path: "/debug/pprof/symbol", handle: plain(http.HandlerFunc(pprof.Symbol))},
	{method: "GET", path: "/debug/pprof/trace", handle: plain(http.HandlerFunc(pprof.Trace))},
	{method: "GET", path: "/debug/pprof/{name}", handle: profile},
}

func plain(h http.Handler) func(*api, *reply, *request) error {
	return func(_ *api, w *reply, r *request) error {
		h.ServeHTTP(w, r.Request)
		return nil
	}
}

func profile(_ *api, w *reply, r *request) error {
	pprof.Handler(r.name).ServeHTTP(w, r.Request)
	return nil
}
