package session

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

func newTestSession(t *testing.T, args ...string) *Session {
	t.Helper()
	for _, name := range []string{"GANTRY_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "GANTRY_AUTOSTART"} {
		if _, ok := os.LookupEnv(name); ok {
			t.Setenv(name, "")
		}
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return parseSession(t, args...)
}

func parseSession(t *testing.T, args ...string) *Session {
	t.Helper()
	s := New("gantry", &stream.Stdio{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, Build{Version: "1"})
	fs := pflag.NewFlagSet("gantry", pflag.ContinueOnError)
	s.Opts.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := s.Opts.Check(fs); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///x": "unix:///x", "/x/y.sock": "unix:///x/y.sock", "tcp://h:1": "tcp://h:1", "h:1": "tcp://h:1",
		"tcp://h": "tcp://h:2375", "tcp://:1": "tcp://localhost:1", "tcp://[::1]": "tcp://[::1]:2375", "tcp://h:1/p": "tcp://h:1/p",
		"http://h:1": "tcp://h:1", "ssh://h": "ssh://h",
	} {
		if got, err := ParseHost(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := ParseHost("foo://x"); err == nil {
		t.Error("foo://x is accepted")
	}
}

func TestEndpointPrecedence(t *testing.T) {
	s := newTestSession(t)
	host := func(s *Session) string {
		t.Helper()
		ep, err := s.Endpoint()
		if err != nil {
			t.Fatal(err)
		}
		return ep.Host
	}
	if got := host(s); got != DefaultHost() {
		t.Errorf("default: %s", got)
	}
	if err := os.WriteFile(filepath.Join(s.Opts.ConfigDir, "config.json"), []byte(`{"currentContext":"ctx"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parseSession(t).Endpoint(); err == nil || !strings.Contains(err.Error(), `context "ctx": context not found`) {
		t.Errorf("current context: %v", err)
	}
	t.Setenv("DOCKER_HOST", "unix:///docker")
	if got := host(parseSession(t)); got != "unix:///docker" {
		t.Errorf("DOCKER_HOST: %s", got)
	}
	t.Setenv("GANTRY_HOST", "unix:///gantry")
	if got := host(parseSession(t)); got != "unix:///gantry" {
		t.Errorf("GANTRY_HOST: %s", got)
	}
	if got := host(parseSession(t, "-H", "unix:///flag")); got != "unix:///flag" {
		t.Errorf("-H: %s", got)
	}
	if _, err := parseSession(t, "-H", "a", "-H", "b").Endpoint(); err == nil {
		t.Error("two -H are accepted")
	}
}

func TestConnectErrors(t *testing.T) {
	s := newTestSession(t, "-H", "unix:///nonexistent/d.sock")
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ContainerList(t.Context(), client.ContainerListOptions{})
	ce := Connect(err)
	if ce == nil || !strings.HasPrefix(ce.Error(), "Cannot connect to the Docker daemon at unix:///nonexistent/d.sock. Is the docker daemon running?") {
		t.Errorf("no socket: %v", err)
	}
	_, err = c.ContainerAttach(t.Context(), "x", client.ContainerAttachOptions{})
	if Connect(err) == nil {
		t.Errorf("hijacking: %v", err)
	}

	stale := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = parseSession(t, "-H", "unix://"+stale).Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Info(t.Context()); Connect(err) == nil {
		t.Errorf("stale socket: %v", err)
	}
}

func TestConfirm(t *testing.T) {
	for in, ok := range map[string]bool{"y\n": true, "Y\n": true, "n\n": false, "\n": false, "": false, "yes\n": false} {
		var out bytes.Buffer
		s := New("gantry", &stream.Stdio{In: strings.NewReader(in), Out: &out}, Build{})
		err := s.Confirm("W")
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrCancelled) {
			t.Errorf("%q: %v", in, err)
		}
		if out.String() != "W\nAre you sure you want to continue? [y/N] " {
			t.Errorf("%q", out.String())
		}
	}
}

func TestPruneFilters(t *testing.T) {
	s := newTestSession(t)
	if err := os.WriteFile(filepath.Join(s.Opts.ConfigDir, "config.json"), []byte(`{"pruneFilters":["label!=keep","label=x"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := s.PruneFilters(client.Filters{}.Add("label", "keep").Add("until", "1h"))
	if got["label!"]["keep"] || !got["label"]["x"] || !got["label"]["keep"] || !got["until"]["1h"] {
		t.Errorf("%v", got)
	}
}

func TestWriteArchive(t *testing.T) {
	s := newTestSession(t)
	name := filepath.Join(t.TempDir(), "a.tar")
	if err := s.WriteArchive(name, io.MultiReader(strings.NewReader("x"), failing{})); err == nil {
		t.Error("no error")
	}
	if entries, _ := os.ReadDir(filepath.Dir(name)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if err := s.WriteArchive(name, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(name); err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if err := s.WriteArchive("/dev/null", strings.NewReader("content")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Error("/dev/null was replaced")
	}
	if err := s.CheckArchiveOutput("/nonexistent/x.tar", "failed to save image"); err == nil ||
		err.Error() != "failed to save image: invalid output path: stat /nonexistent: no such file or directory" {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut off") }

func TestJoinTellsAMissingDaemonOnce(t *testing.T) {
	c := &ConnectError{Host: "unix:///x"}
	if err := Join([]error{c, c}); Connect(err) != c || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if err := Join([]error{errors.New("a"), errors.New("b")}); err.Error() != "a\nb" {
		t.Errorf("%v", err)
	}
}
