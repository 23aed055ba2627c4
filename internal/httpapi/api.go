package httpapi

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Options configure the API. The zero value works.
type Options struct {
	Log     *slog.Logger // nil: nothing is logged
	Version string       // the engine's version, for the Server header
	// MinVersion is the oldest API version served, LowestMinVersion or
	// later; "": DefaultMinVersion.
	MinVersion string
	// BuilderVersion is the builder recommended to clients: "2" for BuildKit,
	// "" or "1" for the classic one, which is also what to say without any.
	BuilderVersion string
	Experimental   bool
	Debug          bool // serve /debug/pprof and /debug/vars
}

// api is the handler of all requests. It is read-only once built.
type api struct {
	backend engine.Backend
	opts    Options
	log     *slog.Logger
	min     version
	max     version
	matcher *matcher
	// pace is the interval of a stream of statistics.
	pace time.Duration
}

// statsInterval is how often Docker samples a container's statistics.
const statsInterval = time.Second

// New gives the handler that serves backend. A MinVersion outside of
// [LowestMinVersion, MaxVersion] is errs.InvalidArgument.
func New(backend engine.Backend, opts Options) (http.Handler, error) {
	return newAPI(backend, opts)
}

func newAPI(backend engine.Backend, opts Options) (*api, error) {
	if opts.MinVersion == "" {
		opts.MinVersion = DefaultMinVersion
	}
	if opts.BuilderVersion == "" {
		opts.BuilderVersion = "1"
	}
	logger := opts.Log
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	min, ok := parseVersion(opts.MinVersion)
	max := mustVersion(MaxVersion)
	if !ok || min.less(mustVersion(LowestMinVersion)) || max.less(min) {
		return nil, errs.New(errs.InvalidArgument, "invalid minimum API version (%s): must be between %s and %s", opts.MinVersion, LowestMinVersion, MaxVersion)
	}
	all := routes
	if opts.Debug {
		all = append(all[:len(all):len(all)], debugRoutes...)
	}
	return &api{backend: backend, opts: opts, log: logger, min: min, max: max, matcher: newMatcher(all), pace: statsInterval}, nil
}

// NewServer gives an http.Server for the handler with limits that keep one
// client from hurting others: a header must arrive within seconds and within
// a bound. Bodies and answers have no deadline, since pulls, logs and attached
// containers take as long as they take.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // hijacked streams do not exist in HTTP/2
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    1 << 20, // X-Registry-Config of clients with many registries is large
		Protocols:         protocols,
		ErrorLog:          log.New(debugWriter{logger}, "", 0),
	}
}

// debugWriter takes the HTTP server's own complaints: clients that hang up
// during a TLS handshake and the like.
type debugWriter struct{ log *slog.Logger }

var _ io.Writer = debugWriter{}

func (d debugWriter) Write(p []byte) (int, error) {
	d.log.Debug("http server", "message", string(p))
	return len(p), nil
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(rw http.ResponseWriter, hr *http.Request) {
	start := time.Now()
	w := &reply{ResponseWriter: rw}
	defer a.recover(w, hr)

	h := w.Header()
	h.Set("Api-Version", MaxVersion)
	h.Set("Docker-Experimental", fmt.Sprint(a.opts.Experimental))
	h.Set("Ostype", "linux")
	h.Set("Server", "Gantry/"+a.opts.Version+" (linux)")

	err := a.serve(w, hr)
	if err != nil {
		a.report(w, hr, err)
	}
	a.log.Debug("request", "method", hr.Method, "path", hr.URL.Path, "status", w.status, "took", time.Since(start))
}

// serve finds the route and calls its handler.
func (a *api) serve(w *reply, hr *http.Request) error {
	if hr.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	v, path, versioned, ok := splitVersion(hr.URL.Path)
	if !versioned {
		v = a.max
	}
	route, name, part := a.matcher.match(hr.Method, path)
	if !ok || route == nil {
		return errs.New(errs.NotFound, "page not found")
	}
	if err := checkVersion(v, a.min, a.max); err != nil {
		return err
	}
	if v.less(route.since) {
		return errs.New(errs.InvalidArgument, "%s requires API version %s, but the Docker daemon API version is %s", hr.Method+" "+route.path, route.since, v)
	}
	if route.experimental && !a.opts.Experimental {
		return errExperimental
	}
	query, err := parseQuery(hr)
	if err != nil {
		return err
	}
	if route.detached {
		hr = hr.WithContext(context.WithoutCancel(hr.Context()))
	}
	return route.handle(a, w, &request{Request: hr, version: v, name: name, part: part, query: query})
}

// report turns a handler's error into an answer, if there is still somebody
// to answer to.
func (a *api) report(w *reply, r *http.Request, err error) {
	log := a.log.With("method", r.Method, "path", r.URL.Path, "err", err)
	switch status := statusOf(err); {
	case w.begun:
		log.Debug("request failed after its answer began")
	case r.Context().Err() != nil:
		log.Info("request cancelled by client")
	default:
		if status >= http.StatusInternalServerError {
			log.Error("request failed", "status", status)
		}
		w.fail(status, err.Error())
	}
}

// recover answers 500 for a handler that panicked, and keeps the daemon alive.
func (a *api) recover(w *reply, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause) // a handler cuts its answer on purpose
	}
	a.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if w.begun {
		if !w.hijacked {
			panic(http.ErrAbortHandler) // let the client see that the answer is incomplete
		}
		return
	}
	w.fail(http.StatusInternalServerError, "internal error: "+fmt.Sprint(cause))
}
