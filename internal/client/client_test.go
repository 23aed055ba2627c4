package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// listen serves h on a unix socket and gives the host to connect to.
func listen(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	srv.Start()
	t.Cleanup(srv.Close)
	return "unix://" + socket
}

func connect(t *testing.T, host string, o Options) *Client {
	t.Helper()
	c, err := New(host, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// daemon answers pings with a version and leaves the rest to next.
func daemon(version string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if version != "" {
			w.Header().Set("Api-Version", version)
		}
		if r.URL.Path == "/_ping" {
			_, _ = io.WriteString(w, "OK")
			return
		}
		next(w, r)
	}
}

func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		host string
		o    Options
		want string
	}{
		{"ssh://h", Options{}, `unable to connect to ssh://h: protocol "ssh" is not supported`},
		{"unix://", Options{}, "is not supported"},
		{"/run/x", Options{}, "is not supported"},
		{"unix:///" + strings.Repeat("x", 108), Options{}, "is too long"},
		{"tcp://h:x", Options{}, "invalid port"},
		{"unix:///x", Options{APIVersion: "1"}, "invalid API version (1): must be formatted <major>.<minor>"},
		{"unix:///x", Options{APIVersion: "v1.x"}, "invalid API version (v1.x): invalid minor version: must be formatted <major>.<minor>"},
		{"unix:///x", Options{APIVersion: "x.1"}, "invalid API version (x.1): invalid major version: must be formatted <major>.<minor>"},
		{"unix:///x", Options{APIVersion: "vv1.1"}, "invalid API version (vv1.1): must be formatted <major>.<minor>"},
		{"unix:///x", Options{Headers: map[string]string{"a-b": "1", "A-B": "2"}}, "duplicate custom HTTP header (A-B)"},
	} {
		if _, err := New(tt.host, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: %v, want %q", tt.host, tt.o, err, tt.want)
		}
	}
}

func TestNegotiation(t *testing.T) {
	for _, tt := range []struct{ daemon, fixed, want string }{
		{"1.56", "", "1.56"}, {"1.99", "", "1.56"}, {"2.0", "", "1.56"}, {"1.44", "", "1.44"}, {"1.40", "", "1.40"},
		{"", "", "1.56"}, {"nonsense", "", "1.56"}, {"1.24", "", "1.56"}, // that daemon will say itself what is wrong
		{"1.44", "1.50", "1.50"}, {"1.44", " v1.24 ", "1.24"}, {"1.44", "v", "1.44"},
	} {
		var pings atomic.Int32
		var path atomic.Value
		serve := daemon(tt.daemon, func(w http.ResponseWriter, r *http.Request) {
			path.Store(r.URL.Path)
			_, _ = io.WriteString(w, "[]")
		})
		c := connect(t, listen(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/_ping" {
				pings.Add(1)
			}
			serve(w, r)
		}), Options{APIVersion: tt.fixed})
		if c.ClientVersion() != MaxAPIVersion && tt.fixed == "" {
			t.Errorf("%+v: before the first call %s", tt, c.ClientVersion())
		}
		for range 2 {
			if _, err := c.ContainerList(t.Context(), ContainerListOptions{}); err != nil {
				t.Errorf("%+v: %v", tt, err)
			}
		}
		if got := path.Load(); got != "/v"+tt.want+"/containers/json" || c.ClientVersion() != tt.want {
			t.Errorf("%+v: %v, %s", tt, got, c.ClientVersion())
		}
		if n := pings.Load(); tt.fixed == "1.50" && n != 0 || tt.daemon == "1.44" && tt.fixed == "" && n != 1 {
			t.Errorf("%+v: %d pings", tt, n)
		}
	}
	if err := func() error {
		c := connect(t, listen(t, daemon("1.24", answer(""))), Options{})
		return c.require(t.Context(), version{1, 48}, "platform")
	}(); !errs.Is(err, errs.InvalidArgument) || err.Error() != "API version 1.24 is not supported by this client: the minimum supported API version is 1.40" {
		t.Errorf("too old: %v", err)
	}
}

// A daemon that does not take HEAD is asked with GET, and one whose ping fails
// is still sent the request.
func TestPingFallsBack(t *testing.T) {
	for status, want := range map[int]string{http.StatusOK: "1.44", http.StatusInternalServerError: "1.56"} {
		c := connect(t, listen(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.44")
			switch {
			case r.URL.Path != "/_ping":
				fmt.Fprintf(w, `[{"Id":%q}]`, r.URL.Path)
			case r.Method == http.MethodHead:
				w.WriteHeader(http.StatusMethodNotAllowed)
			default:
				w.WriteHeader(status)
			}
		}), Options{})
		res, err := c.ContainerList(t.Context(), ContainerListOptions{})
		if err != nil || len(res.Items) != 1 || res.Items[0].ID != "/v"+want+"/containers/json" {
			t.Errorf("%d: %+v, %v", status, res, err)
		}
	}
}

// Many callers negotiate once.
func TestConcurrentUse(t *testing.T) {
	var pings atomic.Int32
	serve := daemon("1.44", answer("[]"))
	c := connect(t, listen(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			pings.Add(1)
		}
		serve(w, r)
	}), Options{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := c.ContainerList(t.Context(), ContainerListOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if pings.Load() != 1 {
		t.Errorf("%d pings", pings.Load())
	}
}

func TestHeaders(t *testing.T) {
	got := make(chan *http.Request, 1)
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		got <- r
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "{}")
	})), Options{UserAgent: "Gantry", Headers: map[string]string{"x-mine": "1", "user-agent": "evil", "content-type": "evil"}})
	if _, err := c.VolumeCreate(t.Context(), VolumeCreateOptions{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	r := <-got
	for name, want := range map[string]string{"X-Mine": "1", "User-Agent": "Gantry", "Content-Type": "application/json"} {
		if v := r.Header.Values(name); len(v) != 1 || v[0] != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if r.Host != "api.moby.localhost" {
		t.Errorf("host %q", r.Host)
	}
}

func TestTCPAndBasePath(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", "1.50")
		}
		fmt.Fprintf(w, `{"ID":%q,"Name":%q}`, r.URL.Path, r.Host)
	}))
	t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().String()
	c := connect(t, "tcp://"+addr+"/some/where/", Options{})
	info, err := c.Info(t.Context())
	if err != nil || info.ID != "/some/where/v1.50/info" || info.Name != addr {
		t.Errorf("%q, %q, %v", info.ID, info.Name, err)
	}
}

// The environment's proxy is asked for other hosts, and for no sockets.
func TestProxy(t *testing.T) {
	c := connect(t, "tcp://h:1", Options{})
	if c.http.Transport.(*http.Transport).Proxy == nil {
		t.Error("no proxy for tcp")
	}
	for _, c := range []*Client{connect(t, "unix:///x", Options{}), connect(t, "tcp://h:1", Options{Dial: c.Dial})} {
		if c.http.Transport.(*http.Transport).Proxy != nil {
			t.Errorf("a proxy for %s", c.host)
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, `{"ID":"tls"}`)
			return
		}
		echo(t, w)
	})))
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	host := "tcp://" + srv.Listener.Addr().String()

	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c := connect(t, host, Options{TLS: &tls.Config{RootCAs: pool}})
	if info, err := c.Info(t.Context()); err != nil || info.ID != "tls" {
		t.Errorf("%+v, %v", info.ID, err)
	}
	h, err := c.ContainerAttach(t.Context(), "x", ContainerAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, h)

	_, err = connect(t, host, Options{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}).Info(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "error during connect: ") || !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("unknown authority: %v", err)
	}
	_, err = connect(t, host, Options{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}).ContainerAttach(t.Context(), "x", ContainerAttachOptions{})
	if !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("unknown authority, hijacked: %v", err)
	}
	_, err = connect(t, "tcp://"+plainServer(t), Options{TLS: &tls.Config{RootCAs: pool}}).Info(t.Context())
	if err == nil {
		t.Error("TLS to a server that speaks none")
	}
}

// Without the certificate that the server asks for, the error says so.
func TestClientCertificateIsMissing(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(daemon("1.56", answer("{}"))))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	_, err := connect(t, "tcp://"+srv.Listener.Addr().String(), Options{TLS: &tls.Config{RootCAs: pool}}).Info(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "the server probably has client authentication (--tlsverify) enabled") {
		t.Error(err)
	}
}

func plainServer(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func TestRedirects(t *testing.T) {
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
	})), Options{})
	if err := c.ContainerStart(t.Context(), "x", ContainerStartOptions{}); !errors.Is(err, errRedirect) {
		t.Errorf("POST: %v", err)
	}
	if _, err := c.ContainerList(t.Context(), ContainerListOptions{}); err == nil || errors.Is(err, errRedirect) {
		t.Errorf("GET: %v", err) // the redirect's page is no JSON
	}
}

func TestConnectErrors(t *testing.T) {
	mine := errors.New("mine")
	c := connect(t, "unix:///x", Options{Dial: func(context.Context) (net.Conn, error) { return nil, mine }})
	if _, err := c.Info(t.Context()); !errors.Is(err, mine) {
		t.Errorf("request: %v", err)
	}
	if _, err := c.ContainerAttach(t.Context(), "x", ContainerAttachOptions{}); !errors.Is(err, mine) {
		t.Errorf("hijack: %v", err)
	}
	if w := c.ContainerWait(t.Context(), "x", ContainerWaitOptions{}); !errors.Is(<-w.Error, mine) {
		t.Error("wait")
	}
	if ev := c.Events(t.Context(), EventsListOptions{}); !errors.Is(<-ev.Err, mine) {
		t.Error("events")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	dns := &url.Error{Op: "Get", URL: "http://h", Err: &net.DNSError{Err: "no such host", Name: "h"}}
	if err := c.connectError(dns); err.Error() != "failed to connect to the docker API at unix:///x: lookup h: no such host" {
		t.Errorf("DNS: %v", err)
	}
}

// Ending the context ends a request without an answer and a stream.
func TestCancel(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/logs") {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})), Options{})

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("request: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	body, err := c.ContainerLogs(ctx, "x", ContainerLogsOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("stream: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.ContainerAttach(ctx, "x", ContainerAttachOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hijack: %v", err)
	}
}

// A body is sent while it is produced, and the connection is used again.
func TestStreamingUpload(t *testing.T) {
	first := make(chan string)
	var conns atomic.Int32
	host := listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, b)
		first <- string(b)
		rest, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"stream":%q}`, rest)
	}))
	c := connect(t, host, Options{Dial: func(ctx context.Context) (net.Conn, error) {
		conns.Add(1)
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	}})
	for range 2 {
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "first")
			<-first
			_, _ = io.WriteString(w, "second")
			_ = w.Close()
		}()
		body, err := c.ImageLoad(t.Context(), r, ImageLoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(body)
		_ = body.Close()
		if err != nil || string(out) != `{"stream":"second"}` {
			t.Errorf("%q, %v", out, err)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections", conns.Load())
	}
}

func TestWait(t *testing.T) {
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush() // the daemon has begun to wait
		if strings.Contains(r.URL.Path, "broken") {
			_, _ = io.WriteString(w, "something is wrong")
			return
		}
		_, _ = io.WriteString(w, `{"StatusCode":7}`)
	})), Options{})
	if r := <-c.ContainerWait(t.Context(), "x", ContainerWaitOptions{}).Result; r.StatusCode != 7 {
		t.Errorf("%+v", r)
	}
	if err := <-c.ContainerWait(t.Context(), "broken", ContainerWaitOptions{}).Error; err == nil || err.Error() != "something is wrong" {
		t.Errorf("%v", err)
	}
}

func TestEvents(t *testing.T) {
	c := connect(t, listen(t, daemon("1.56", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"Action":"a"}`+"\n"+`{"Action":"b"}`+"\n")
		if r.URL.Query().Get("until") == "" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})), Options{})
	ev := c.Events(t.Context(), EventsListOptions{Until: "1"})
	a, b, err := <-ev.Messages, <-ev.Messages, <-ev.Err
	if a.Action != "a" || b.Action != "b" || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v, %v", a.Action, b.Action, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ev = c.Events(ctx, EventsListOptions{})
	<-ev.Messages
	cancel() // with a message that nobody takes
	if err := <-ev.Err; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestCheckpointRemoveNames: a name must not make another path of the request, least
// of all the container's.
func TestCheckpointRemoveNames(t *testing.T) {
	c := &Client{}
	for _, name := range []string{"", ".", "..", "../..", "a/../..", "a/b"} {
		if err := c.CheckpointRemove(t.Context(), "x", CheckpointRemoveOptions{CheckpointID: name}); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
