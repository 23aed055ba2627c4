package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

func TestPullProgress(t *testing.T) {
	s := serve(t, Options{})
	status, header, body := s.do("POST", "/images/create?fromImage=busybox&tag=1.36&platform=linux/arm64", "",
		"X-Registry-Auth", "eyJ1c2VybmFtZSI6ICJhbm4ifQ==")
	want := `{"status":"Pulling from library/busybox:1.36","id":"latest"}` + "\r\n" +
		`{"status":"Downloading","progressDetail":{"current":512,"total":1024},"id":"0123456789ab"}` + "\r\n" +
		`{"status":"Status: Downloaded newer image for busybox:1.36"}` + "\r\n"
	if status != 200 || header.Get("Content-Type") != "application/json" || body != want {
		t.Errorf("got %d %v %q", status, header, body)
	}
	pull := s.images.pulls[0]
	if pull.Auth.Username != "ann" || pull.Platform == nil || pull.Platform.Architecture != "arm64" || pull.All {
		t.Errorf("pulled %+v", pull)
	}

	// After the first message the status is gone: the error is in the stream,
	// in both of the forms that clients read.
	status, _, body = s.do("POST", "/images/create?fromImage=broken&tag=latest", "")
	if status != 200 || !strings.HasSuffix(body, `{"error":"unexpected EOF","errorDetail":{"message":"unexpected EOF"}}`+"\r\n") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestPullReferences(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		query, ref string
		all        bool
	}{
		{"fromImage=busybox&tag=latest", "busybox:latest", false},
		{"fromImage=busybox:1", "busybox:1", false},
		{"fromImage=docker.io/library/busybox&tag=latest", "busybox:latest", false},
		{"fromImage=localhost:5000/a/b&tag=v", "localhost:5000/a/b:v", false},
		{"fromImage=busybox&tag=" + digest, "busybox@" + digest, false},
		{"fromImage=busybox@" + digest, "busybox@" + digest, false},
		{"fromImage=busybox", "busybox", true},
		{"fromImage=busybox:", "busybox", true},
	} {
		s := serve(t, Options{})
		s.want(200, "Pulling", "POST", "/images/create?"+tt.query, "")
		if pull := s.images.pulls[0]; pull.Ref != tt.ref || pull.All != tt.all || pull.Platform != nil {
			t.Errorf("%s: pulled %+v", tt.query, pull)
		}
	}
}

// TestLoadReportsWhileReading: the first progress message comes before the
// archive has been read, which must not cost the rest of the archive.
func TestLoadReportsWhileReading(t *testing.T) {
	s := serve(t, Options{})
	conn := s.dial()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	archive := bytes.Repeat([]byte("archive!"), 1<<17) // 1 MiB: more than any buffer on the way
	if _, err := io.WriteString(conn, "POST /v1.56/images/load?quiet=0 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %v %v", resp, err)
	}
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "Loading layer") {
		t.Fatalf("got %q %v", line, err)
	}
	for part := archive; len(part) > 0; part = part[1<<16:] {
		if _, err := io.WriteString(conn, "10000\r\n"+string(part[:1<<16])+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != `{"stream":"Loaded image: busybox:latest\n"}`+"\r\n" {
		t.Errorf("got %q %v", rest, err)
	}
	if !bytes.Equal(s.images.loaded, archive) {
		t.Errorf("loaded %d bytes of %d", len(s.images.loaded), len(archive))
	}
	if got := s.images.calls[0]; got != "load quiet=false platforms=0" {
		t.Errorf("called %q", got)
	}

	s.want(200, `"errorDetail":{"message":"archive/tar: invalid tar header"}`, "POST", "/images/load", "garbage", "Content-Type", "application/x-tar")
}

func TestSave(t *testing.T) {
	s := serve(t, Options{})
	status, header, body := s.do("GET", "/images/get?names=a&names=b/c:1", "")
	if status != 200 || header.Get("Content-Type") != "application/x-tar" || body != "tar of a,b/c:1" {
		t.Errorf("got %d %v %q", status, header, body)
	}
	s.want(200, "tar of b/c:1", "GET", "/images/b/c:1/get", "")

	// A save that fails half-way must not look like a complete archive.
	conn := s.dial()
	if _, err := io.WriteString(conn, "GET /images/half/get HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return // cut before the header had left
	}
	if data, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("broken archive came as a whole: %q", data)
	}
}

func TestEventStream(t *testing.T) {
	s := serve(t, Options{})
	s.events.messages = []events.Message{
		{Type: events.ContainerEventType, Action: events.ActionStart, Scope: "local", Time: 1, TimeNano: 1000000002,
			Actor: events.Actor{ID: "abc", Attributes: map[string]string{"image": "busybox", "name": "a<b"}}},
		{Type: events.ImageEventType, Action: events.ActionCreate, Actor: events.Actor{ID: "img"}},
		{Type: events.NetworkEventType, Action: events.ActionConnect, Actor: events.Actor{ID: "net"}},
	}
	const past = "/events?until=1"
	for _, tt := range []struct {
		path, accept, contentType string
		lines                     []string
	}{
		{"/v1.56" + past, "", "application/jsonl", []string{
			`{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"busybox","name":"a<b"}},"scope":"local","time":1,"timeNano":1000000002}`,
			`{"Type":"image","Action":"create","Actor":{"ID":"img","Attributes":null}}`,
			`{"Type":"network","Action":"connect","Actor":{"ID":"net","Attributes":null}}`}},
		{"/v1.45" + past, "", "application/json", []string{
			`{"status":"start","id":"abc","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"busybox","name":"a<b"}},"scope":"local","time":1,"timeNano":1000000002}`,
			`{"Type":"network","Action":"connect","Actor":{"ID":"net","Attributes":null}}`}},
		{"/v1.51" + past, "application/x-ndjson;q=1, text/html", "application/x-ndjson", nil},
	} {
		_, header, body := s.do("GET", tt.path, "", "Accept", tt.accept)
		if header.Get("Content-Type") != tt.contentType {
			t.Errorf("%s: type %s", tt.path, header.Get("Content-Type"))
		}
		if want := strings.Join(tt.lines, "\n") + "\n"; tt.lines != nil && body != want {
			t.Errorf("%s: got %s, want %s", tt.path, body, want)
		}
	}
	if _, _, body := s.do("GET", past, "", "Accept", "application/json-seq"); strings.Count(body, "\x1e{") != 3 {
		t.Errorf("got %q", body)
	}
	// A stream that goes on: header and events arrive while it is open.
	_, resp, _ := s.stream("GET /v1.56/events HTTP/1.1\r\nHost: x\r\n\r\n")
	dec := json.NewDecoder(resp.Body)
	for range s.events.messages {
		var m events.Message
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStats(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	decode := func(body string) (v container.StatsResponse) {
		t.Helper()
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		return v
	}
	_, _, body := s.do("GET", "/containers/a/stats?stream=0", "")
	if v := decode(body); v.Name != "/a" || !v.Read.IsZero() || v.OSType != "linux" {
		t.Errorf("stopped container: %+v", v)
	}
	s.want(204, "", "POST", "/containers/a/start", "")
	_, _, body = s.do("GET", "/containers/a/stats?stream=false&one-shot=true", "")
	if v := decode(body); v.CPUStats.CPUUsage.TotalUsage != 1 || !v.PreRead.IsZero() {
		t.Errorf("one shot: %+v", v)
	}
	_, _, body = s.do("GET", "/v1.51/containers/a/stats?stream=false", "")
	if v := decode(body); v.CPUStats.CPUUsage.TotalUsage != 3 || v.PreCPUStats.CPUUsage.TotalUsage != 2 || v.PreRead.IsZero() || v.OSType != "" {
		t.Errorf("two samples: %+v", v)
	}
	_, resp, _ := s.stream("GET /v1.56/containers/a/stats HTTP/1.1\r\nHost: x\r\n\r\n")
	dec := json.NewDecoder(resp.Body)
	for i := uint64(4); i < 7; i++ {
		var v container.StatsResponse
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		previous := i - 1
		if i == 4 {
			previous = 0
		}
		if v.CPUStats.CPUUsage.TotalUsage != i || v.PreCPUStats.CPUUsage.TotalUsage != previous {
			t.Errorf("sample %d: %+v", i, v)
		}
	}
	s.want(204, "", "DELETE", "/containers/a?force=1", "")
	if _, err := io.Copy(io.Discard, dec.Buffered()); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream of a removed container ends with %v", err)
	}
	s.want(404, "No such container: a", "GET", "/containers/a/stats", "")
}

func TestLogs(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["echo","hi"]}`)
	// Following starts before there is anything to read, and ends with the container.
	_, resp, _ := s.stream("GET /v1.42/containers/a/logs?stdout=1&stderr=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	s.want(204, "", "POST", "/containers/a/start", "")
	want := append(frame(1, "hi\n"), frame(2, "complaint\n")...)
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, want) || resp.Header.Get("Content-Type") != "application/vnd.docker.multiplexed-stream" {
		t.Errorf("got %q %v %v", got, err, resp.Header)
	}
	_, header, body := s.do("GET", "/v1.41/containers/a/logs?stdout=1&tail=all&until=0", "")
	if body != string(want) || header.Get("Content-Type") != "application/vnd.docker.raw-stream" {
		t.Errorf("got %q %v", body, header)
	}
}

func TestLogOptions(t *testing.T) {
	for query, want := range map[string]int{"tail=all": -1, "": -1, "tail=0": 0, "tail=25": 25, "tail=-3": -1, "tail=x": -1} {
		r, _ := http.NewRequest("GET", "/x?stdout=1&"+query, nil)
		got, err := (&request{Request: r, query: r.URL.Query(), version: version{1, 56}}).logOptions()
		if err != nil || got.Tail != want {
			t.Errorf("%s: tail %d %v, want %d", query, got.Tail, err, want)
		}
	}
}

func TestVolumePruneByVersion(t *testing.T) {
	s := serve(t, Options{})
	s.want(200, `"SpaceReclaimed":1`, "POST", "/v1.42/volumes/prune", "")
	if len(s.volumes.pruned) != 0 {
		t.Errorf("1.42 prunes %v", s.volumes.pruned)
	}
	s.want(200, "", "POST", "/v1.41/volumes/prune", "")
	if s.volumes.pruned["all"][0] != "true" {
		t.Errorf("1.41 prunes %v", s.volumes.pruned)
	}
}
