package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeDaemon answers API calls with what testdata holds, and keeps what
// clients send. Paths are without the version prefix.
type fakeDaemon struct {
	socket string
	bodies map[string]json.RawMessage   // path → answer; null is 204
	stream map[string][]json.RawMessage // path → JSON lines

	mu   sync.Mutex // guards what follows
	last map[string]string
	body map[string][]byte
}

var (
	versionPrefix = regexp.MustCompile(`^/v1\.\d+`)
	relativeTime  = regexp.MustCompile(`"@NOW-(\d+)@"`)
)

func newFakeDaemon(t *testing.T) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{socket: filepath.Join(t.TempDir(), "d.sock"), last: map[string]string{}, body: map[string][]byte{}}
	readJSON(t, "testdata/api.json", &d.bodies)
	readJSON(t, "testdata/stream.json", &d.stream)
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return d
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (d *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := versionPrefix.ReplaceAllString(r.URL.Path, "")
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.last[path], d.body[path] = r.URL.RawQuery, body
	d.mu.Unlock()
	w.Header().Set("Api-Version", "1.50")
	w.Header().Set("Ostype", "linux")
	answer, known := d.bodies[path]
	switch {
	case path == "/_ping":
		fmt.Fprint(w, "OK")
	case path == "/containers/create":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"0123456789abcdef","Warnings":[]}`)
	case d.stream[path] != nil:
		w.Header().Set("Content-Type", "application/json")
		for _, m := range d.stream[path] {
			fmt.Fprintf(w, "%s\n", m)
		}
	case known && string(answer) == "null":
		w.WriteHeader(http.StatusNoContent)
	case known:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(fillTimes(answer))
	default:
		message := "no such thing: " + path
		if rest, ok := strings.CutPrefix(path, "/containers/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			message = "No such container: " + name
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

// fillTimes replaces "@NOW-90@" by the Unix time 90 seconds ago.
func fillTimes(doc []byte) []byte {
	return relativeTime.ReplaceAllFunc(doc, func(m []byte) []byte {
		ago, _ := strconv.ParseInt(string(relativeTime.FindSubmatch(m)[1]), 10, 64)
		return strconv.AppendInt(nil, time.Now().Unix()-ago, 10)
	})
}

// sent gives the last request's query and body for a path.
func (d *fakeDaemon) sent(path string) (query string, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[path], d.body[path]
}
