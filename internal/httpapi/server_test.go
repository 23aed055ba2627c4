package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/testenv"
)

// TestMain holds that no request leaves anything behind.
func TestMain(m *testing.M) {
	// The poller opens its own descriptors at its first use.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// testServer serves fakes on a unix socket.
type testServer struct {
	t          *testing.T
	socket     string
	containers *fakeContainers
	images     *fakeImages
	volumes    *fakeVolumes
	events     *fakeEvents
	system     *fakeSystem
	api        *api
}

func serve(t *testing.T, opts Options) *testServer {
	t.Helper()
	// A socket's path is limited to 108 bytes, which t.TempDir may exceed.
	dir, err := os.MkdirTemp("", "gantry-api-")
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, socket: filepath.Join(dir, "s"), containers: newFakeContainers(), images: &fakeImages{},
		volumes: &fakeVolumes{}, events: &fakeEvents{}, system: &fakeSystem{}}
	if testing.Verbose() {
		opts.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.api, err = newAPI(engine.Backend{
		Containers: s.containers, Execs: &fakeExecs{c: s.containers, byID: map[string]*fakeExec{}}, Images: s.images,
		Networks: fakeNetworks{}, Volumes: s.volumes, Events: s.events, System: s.system,
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	s.api.pace = 10 * time.Millisecond
	listener, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(s.api, opts.Log)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		s.containers.close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server ended with %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

func (s *testServer) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// do sends a request and gives status, header and body.
func (s *testServer) do(method, path, body string, header ...string) (int, http.Header, string) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		},
	}}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://gantry"+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// want sends a request and compares status and message of the answer.
func (s *testServer) want(status int, message, method, path, body string, header ...string) {
	s.t.Helper()
	got, _, answer := s.do(method, path, body, header...)
	if got != status || !strings.Contains(answer, message) {
		s.t.Errorf("%s %s: got %d %q, want %d and %q", method, path, got, answer, status, message)
	}
}
