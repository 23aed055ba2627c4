package logship

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// memory is a Sink that fails when told to.
type memory struct {
	mu    sync.Mutex
	lines []string
	fail  func(n int) (sent int, err error) // called with the number of lines of a batch; nil: never
}

func (m *memory) Send(_ context.Context, lines []Line) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := len(lines), error(nil)
	if m.fail != nil {
		n, err = m.fail(n)
	}
	for _, l := range lines[:n] {
		m.lines = append(m.lines, string(l.Text))
	}
	return n, err
}

func (m *memory) Close() error { return nil }

func (m *memory) all() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines, " ")
}

func write(t *testing.T, path string, lines ...string) {
	t.Helper()
	w, err := jsonfile.New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := w.Write("stdout", []byte(l+"\n"), time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func job(dir string, sink Sink) Job {
	return Job{
		Path: filepath.Join(dir, "log"), Position: filepath.Join(dir, "position"), Sink: sink,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func TestShipGoesOnWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	j := job(dir, nil)
	write(t, j.Path, "a", "b", "c")
	first := &memory{}
	j.Sink = first
	if err := j.Ship(t.Context()); err != nil || first.all() != "a b c" {
		t.Fatalf("%s %v", first.all(), err)
	}
	write(t, j.Path, "d", "e")
	second := &memory{}
	j.Sink = second
	if err := j.Ship(t.Context()); err != nil || second.all() != "d e" {
		t.Fatalf("%s %v", second.all(), err)
	}
	again := &memory{}
	j.Sink = again
	if err := j.Ship(t.Context()); err != nil || again.all() != "" {
		t.Fatalf("%s %v", again.all(), err)
	}
}

// Many lines have one time; the place among them is remembered.
func TestShipLinesOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	j := job(dir, nil)
	at := time.Now()
	w, err := jsonfile.New(j.Path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := w.Write("stderr", fmt.Appendf(nil, "%d\n", i), at, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sink := &memory{}
	sink.fail = func(n int) (int, error) { cancel(); return min(n, 4), errors.New("gone") }
	j.Sink = sink
	if err := j.Ship(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	sink.fail = nil
	if err := j.Ship(t.Context()); err != nil || sink.all() != "0 1 2 3 4 5 6 7 8 9" {
		t.Fatalf("%s %v", sink.all(), err)
	}
}

func TestShipWaitsForTheServer(t *testing.T) {
	dir := t.TempDir()
	failures := 0
	sink := &memory{}
	sink.fail = func(n int) (int, error) {
		if failures++; failures < 3 {
			return min(n, 1), errors.New("connection refused")
		}
		return n, nil
	}
	j := job(dir, sink)
	write(t, j.Path, "a", "b", "c", "d")
	if err := j.Ship(t.Context()); err != nil || sink.all() != "a b c d" {
		t.Fatalf("%s %v", sink.all(), err)
	}
}

// A line that the server never takes is left out; all others arrive.
func TestShipLeavesRefusedLinesOut(t *testing.T) {
	dir := t.TempDir()
	sink := &picky{bad: "bad"}
	j := job(dir, sink)
	var want []string
	for i := range 1000 {
		if i == 0 || i == 500 || i == 501 || i == 999 {
			write(t, j.Path, "bad")
			continue
		}
		want = append(want, fmt.Sprint(i))
		write(t, j.Path, fmt.Sprint(i))
	}
	if err := j.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sink.all(); got != strings.Join(want, " ") {
		t.Errorf("%s", got)
	}
	again := &memory{}
	j.Sink = again
	if err := j.Ship(t.Context()); err != nil || again.all() != "" {
		t.Errorf("%s %v", again.all(), err)
	}
}

// picky is a Sink that refuses batches with a certain line.
type picky struct {
	memory
	bad string
}

func (p *picky) Send(ctx context.Context, lines []Line) (int, error) {
	for _, l := range lines {
		if string(l.Text) == p.bad {
			return 0, fmt.Errorf("400: %w", errRefused)
		}
	}
	return p.memory.Send(ctx, lines)
}

func TestShipFollows(t *testing.T) {
	dir := t.TempDir()
	sink, done := &memory{}, make(chan struct{})
	j := job(dir, sink)
	j.Done = done
	ended := make(chan error, 1)
	go func() { ended <- j.Ship(t.Context()) }()
	write(t, j.Path, "a")
	for start := time.Now(); sink.all() != "a"; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%q has arrived", sink.all())
		}
	}
	write(t, j.Path, "b")
	close(done)
	if err := <-ended; err != nil || sink.all() != "a b" {
		t.Errorf("%s %v", sink.all(), err)
	}
}

var lines = []Line{
	{Text: []byte("hello"), Time: time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC)},
	{Text: []byte("two\nlines"), Stderr: true, Time: time.Date(2026, 2, 3, 4, 5, 7, 0, time.UTC), Part: &Part{ID: "id", Ordinal: 1}},
}

func source(options map[string]string) Source {
	return Source{
		ContainerID: strings.Repeat("ab", 32), ContainerName: "box", ContainerImageID: "sha256:" + strings.Repeat("cd", 32), ImageTitle: "img:1",
		Args: []string{"sh", "-c", "x"}, Attrs: map[string]string{"label": "value"}, Options: options,
	}
}

// send opens a driver and sends the lines.
func send(t *testing.T, name string, options map[string]string) {
	t.Helper()
	if err := Validate(name, options); err != nil {
		t.Fatal(err)
	}
	sink, err := Open(name, source(options))
	if err != nil {
		t.Fatal(err)
	}
	n, err := sink.Send(t.Context(), lines)
	if err = errors.Join(err, sink.Close()); err != nil || n != len(lines) {
		t.Fatal(n, err)
	}
}

// datagrams listens and gives what arrives.
func datagrams(t *testing.T, network, address string) (string, func() string) {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String(), func() string {
		buf := make([]byte, 64<<10)
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// stream accepts one connection and gives all of it.
func stream(t *testing.T, answer func(net.Conn)) (string, func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		if answer != nil {
			answer(conn)
		}
		data, _ := io.ReadAll(conn) // until the driver closes
		_ = conn.Close()
		got <- string(data)
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), func() string { return <-got }
}

func TestSyslog(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	at := lines[0].Time.Local().Format("Jan _2 15:04:05")
	for _, c := range []struct {
		options map[string]string
		want    string
	}{
		{map[string]string{}, fmt.Sprintf("<30>%s abababababab[%d]: hello\n", at, pid)},
		{map[string]string{"syslog-format": "rfc3164", "syslog-facility": "local3", "tag": "{{.Name}}/{{.ImageName}}"}, fmt.Sprintf("<158>%s %s box/img:1[%d]: hello\n", at, host, pid)},
		{map[string]string{"syslog-format": "rfc5424", "syslog-facility": "3"}, fmt.Sprintf("<30>1 2026-02-03T04:05:06Z %s abababababab %d abababababab - hello\n", host, pid)},
		{map[string]string{"syslog-format": "rfc5424micro"}, fmt.Sprintf("<30>1 2026-02-03T04:05:06.789000Z %s abababababab %d abababababab - hello\n", host, pid)},
	} {
		address, next := datagrams(t, "udp", "127.0.0.1:0")
		c.options["syslog-address"] = "udp://" + address
		send(t, "syslog", c.options)
		if got := next(); got != c.want {
			t.Errorf("%v: %q, want %q", c.options, got, c.want)
		}
		if got := next(); !strings.HasSuffix(got, "two\nlines\n") {
			t.Errorf("%q", got)
		}
	}
	address, all := stream(t, nil)
	send(t, "syslog", map[string]string{"syslog-address": "tcp://" + address})
	if got := all(); strings.Count(got, "\n") != 3 || !strings.HasPrefix(got, "<30>") || !strings.Contains(got, "<27>") {
		t.Errorf("%q", got)
	}
	socket := filepath.Join(t.TempDir(), "log")
	_, next := datagrams(t, "unixgram", socket)
	send(t, "syslog", map[string]string{"syslog-address": "unixgram://" + socket})
	if got := next(); !strings.HasSuffix(got, ": hello\n") {
		t.Errorf("%q", got)
	}
}

func TestGelf(t *testing.T) {
	check := func(t *testing.T, data []byte, level float64, text string) {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if m["version"] != "1.1" || m["short_message"] != text || m["level"] != level || m["_container_name"] != "box" || m["_label"] != "value" || m["_command"] != "sh -c x" {
			t.Errorf("%v", m)
		}
	}
	unpack := map[string]func(string) io.Reader{
		"none": func(s string) io.Reader { return strings.NewReader(s) },
		"gzip": func(s string) io.Reader { r, _ := gzip.NewReader(strings.NewReader(s)); return r },
		"zlib": func(s string) io.Reader { r, _ := zlib.NewReader(strings.NewReader(s)); return r },
	}
	for kind, open := range unpack {
		address, next := datagrams(t, "udp", "127.0.0.1:0")
		send(t, "gelf", map[string]string{"gelf-address": "udp://" + address, "gelf-compression-type": kind})
		for i, want := range []string{"hello", "two\nlines"} {
			data, err := io.ReadAll(open(next()))
			if err != nil {
				t.Fatal(kind, err)
			}
			check(t, data, float64(severity(&lines[i])), want)
		}
	}
	address, all := stream(t, nil)
	send(t, "gelf", map[string]string{"gelf-address": "tcp://" + address})
	parts := strings.Split(all(), "\x00")
	if len(parts) != 3 || parts[2] != "" {
		t.Fatalf("%q", parts)
	}
	check(t, []byte(parts[0]), 6, "hello")
}

func TestGelfChunks(t *testing.T) {
	address, next := datagrams(t, "udp", "127.0.0.1:0")
	sink, err := Open("gelf", source(map[string]string{"gelf-address": "udp://" + address, "gelf-compression-type": "none"}))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789", 500)
	if _, err := sink.Send(t.Context(), []Line{{Text: []byte(long)}}); err != nil {
		t.Fatal(err)
	}
	var whole []byte
	for i, count := 0, 1; i < count; i++ {
		d := next()
		if len(d) > gelfChunk || d[0] != 0x1e || d[1] != 0x0f || int(d[10]) != i {
			t.Fatalf("chunk %d: % x", i, d[:12])
		}
		count = int(d[11])
		whole = append(whole, d[12:]...)
	}
	if !bytes.Contains(whole, []byte(long)) {
		t.Errorf("%d bytes", len(whole))
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
}

func TestFluentd(t *testing.T) {
	address, all := stream(t, nil)
	send(t, "fluentd", map[string]string{"fluentd-address": address, "tag": "t.{{.Name}}"})
	got := all()
	record := func(source, log, more string) string {
		id := strings.Repeat("ab", 32)
		return "\xaccontainer_id\xd9\x40" + id + "\xaecontainer_name\xa4/box" + "\xa5label\xa5value" + "\xa3log" + log + more + "\xa6source\xa6" + source
	}
	want := "\x93\xa5t.box\xd3\x00\x00\x00\x00\x69\x81\x73\xf2" + "\x85" + record("stdout", "\xa5hello", "") +
		"\x93\xa5t.box\xd3\x00\x00\x00\x00\x69\x81\x73\xf3" + "\x89" + record("stderr", "\xa9two\nlines", "\xaapartial_id\xa2id\xacpartial_last\xa5false\xafpartial_message\xa4true\xafpartial_ordinal\xa11")
	if got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func TestFluentdAcknowledges(t *testing.T) {
	address, all := stream(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for range lines {
			var seen []byte
			for !bytes.Contains(seen, []byte("\x81\xa5chunk\xb8")) {
				b, err := r.ReadByte()
				if err != nil {
					return
				}
				seen = append(seen, b)
			}
			id := make([]byte, 24)
			_, _ = io.ReadFull(r, id)
			_, _ = c.Write(append([]byte("\x81\xa3ack\xb8"), id...))
		}
	})
	send(t, "fluentd", map[string]string{"fluentd-address": "tcp://" + address, "fluentd-request-ack": "true", "fluentd-sub-second-precision": "true"})
	all()
}

func TestJournald(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	_, next := datagrams(t, "unixgram", socket)
	sink, err := Open("journald", source(map[string]string{"tag": "{{.Name}}"}))
	if err != nil {
		t.Fatal(err)
	}
	sink.(*journald).address = socket
	if n, err := sink.Send(t.Context(), lines); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	defer sink.Close() //nolint:errcheck // a datagram socket
	first := next()
	for _, want := range []string{"MESSAGE=hello\n", "PRIORITY=6\n", "CONTAINER_NAME=box\n", "CONTAINER_ID=abababababab\n", "CONTAINER_TAG=box\n", "LABEL=value\n", "IMAGE_NAME=img:1\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is missing in %q", want, first)
		}
	}
	if second := next(); !strings.HasPrefix(second, "MESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\nPRIORITY=3\n") || !strings.Contains(second, "CONTAINER_PARTIAL_MESSAGE=true\n") {
		t.Errorf("%q", second)
	}
}

func TestSplunk(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "Splunk secret" || r.URL.Path != collectorPath {
			status = http.StatusForbidden
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		data, _ := io.ReadAll(body)
		bodies = append(bodies, string(data))
		w.WriteHeader(status)
	}))
	defer server.Close()
	options := map[string]string{"splunk-url": server.URL, "splunk-token": "secret", "splunk-gzip": "true", "splunk-index": "main"}
	sink, err := Open("splunk", source(options))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := sink.Send(t.Context(), lines); err == nil || n != 0 {
		t.Errorf("%d %v", n, err)
	}
	mu.Lock()
	status = http.StatusOK
	mu.Unlock()
	if n, err := sink.Send(t.Context(), lines); err != nil || n != 2 {
		t.Errorf("%d %v", n, err)
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	d := json.NewDecoder(strings.NewReader(bodies[1]))
	var event struct {
		Time, Index string
		Event       struct {
			Line, Source, Tag string
			Attrs             map[string]string
		}
	}
	if err := d.Decode(&event); err != nil || event.Index != "main" || event.Event.Line != "hello" || event.Event.Source != "stdout" || event.Event.Attrs["label"] != "value" || event.Time != "1770091506.789000" {
		t.Errorf("%+v %v", event, err)
	}
}

// collector answers posts as it is told to and keeps them.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	answer string
	heads  []http.Header
	bodies []string
}

func newCollector(t *testing.T) *collector {
	c := &collector{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		data, _ := io.ReadAll(r.Body)
		c.heads, c.bodies = append(c.heads, r.Header), append(c.bodies, string(data))
		w.WriteHeader(c.status)
		_, _ = io.WriteString(w, c.answer)
	}))
	t.Cleanup(c.Close)
	return c
}

func TestSplunkRaw(t *testing.T) {
	c := newCollector(t)
	s := source(map[string]string{"splunk-url": c.URL, "splunk-token": "x", "splunk-format": "raw", "tag": "mine", "splunk-index-acknowledgment": "true"})
	s.Attrs = map[string]string{"b": "2", "a": "1"}
	sink, err := Open("splunk", s)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close() //nolint:errcheck // idle connections
	blank := []Line{{Text: []byte(" \t")}, {}}
	if n, err := sink.Send(t.Context(), blank); err != nil || n != 2 || len(c.bodies) != 0 {
		t.Errorf("blank lines: %d %v %q", n, err, c.bodies)
	}
	if n, err := sink.Send(t.Context(), append(blank, lines[0])); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	var event struct{ Event string }
	if err := json.Unmarshal([]byte(c.bodies[0]), &event); err != nil || event.Event != "mine a=1 b=2 hello" {
		t.Errorf("%q %v", c.bodies, err)
	}
	if id := c.heads[0].Get("X-Splunk-Request-Channel"); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("channel %q", id)
	}
}

func TestSplunkRefusal(t *testing.T) {
	c := newCollector(t)
	sink, err := Open("splunk", source(map[string]string{"splunk-url": c.URL, "splunk-token": "x"}))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close() //nolint:errcheck // idle connections
	for _, a := range []struct {
		status int
		answer string
		final  bool
	}{
		{http.StatusBadRequest, `{"text":"Invalid data format","code":6,"invalid-event-number":0}`, true},
		{http.StatusBadRequest, `{"text":"Event field cannot be blank","code":13}`, true},
		{http.StatusRequestEntityTooLarge, "", true},
		{http.StatusBadRequest, `{"text":"Incorrect index","code":7}`, false},
		{http.StatusBadRequest, "what?", false},
		{http.StatusForbidden, `{"text":"Invalid token","code":4}`, false},
		{http.StatusServiceUnavailable, `{"text":"Server is busy","code":9}`, false},
	} {
		c.mu.Lock()
		c.status, c.answer = a.status, a.answer
		c.mu.Unlock()
		if n, err := sink.Send(t.Context(), lines); n != 0 || err == nil || refuses(err) != a.final {
			t.Errorf("%d %s: %d %v", a.status, a.answer, n, err)
		}
	}
}

func TestSplunkGzipLevel(t *testing.T) {
	c := newCollector(t)
	long := []Line{{Text: bytes.Repeat([]byte("abcdefgh"), 1000)}}
	for _, level := range []string{"0", "9"} {
		sink, err := Open("splunk", source(map[string]string{"splunk-url": c.URL, "splunk-token": "x", "splunk-gzip": "true", "splunk-gzip-level": level}))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := sink.Send(t.Context(), long); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	}
	if stored, packed := len(c.bodies[0]), len(c.bodies[1]); stored < 8000 || packed > 1000 {
		t.Errorf("level 0: %d bytes, level 9: %d", stored, packed)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		driver  string
		options map[string]string
		want    string
	}{
		{"nothing", nil, "plugin \"nothing\" not found"},
		{"syslog", map[string]string{"what": "x"}, "unknown log opt 'what' for syslog log driver"},
		{"syslog", map[string]string{"syslog-facility": "what"}, "invalid syslog facility"},
		{"syslog", map[string]string{"syslog-format": "what"}, "Invalid syslog format"},
		{"syslog", map[string]string{"syslog-address": "ftp://x"}, "unsupported scheme"},
		{"syslog", map[string]string{"tag": "{{.Nothing}}"}, "invalid log tag"},
		{"syslog", map[string]string{"env-regex": "("}, "invalid value for env-regex"},
		{"gelf", nil, "gelf-address is a required parameter"},
		{"gelf", map[string]string{"gelf-address": "udp://x"}, "proto://host:port"},
		{"gelf", map[string]string{"gelf-address": "tcp://x:1", "gelf-compression-type": "gzip"}, "only supported on UDP"},
		{"fluentd", map[string]string{"fluentd-address": "ftp://x"}, "unsupported scheme"},
		{"fluentd", map[string]string{"fluentd-request-ack": "what"}, "fluentd-request-ack"},
		{"syslog", map[string]string{"syslog-facility": "3xyz"}, "invalid syslog facility: 3xyz"},
		{"syslog", map[string]string{"syslog-facility": "24"}, "invalid syslog facility"},
		{"gelf", map[string]string{"gelf-address": "udp://x:1", "gelf-compression-level": "10"}, "invalid compression level"},
		{"splunk", map[string]string{"splunk-url": "https://x:1", "splunk-token": "x", "splunk-gzip-level": "10"}, "not supported level '10' for splunk-gzip-level"},
		{"splunk", map[string]string{"splunk-url": "https://x:1", "splunk-token": "x", "splunk-verify-connection": "what"}, "splunk-verify-connection"},
		{"splunk", map[string]string{"splunk-url": "https://x:1", "splunk-token": "x", "splunk-index-acknowledgment": "what"}, "splunk-index-acknowledgment"},
		{"splunk", nil, "splunk-url"},
		{"splunk", map[string]string{"splunk-url": "https://x:1"}, "splunk-token is expected"},
	} {
		if err := Validate(c.driver, c.options); err == nil || !strings.Contains(err.Error(), c.want) || !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s %v: %v", c.driver, c.options, err)
		}
	}
}
