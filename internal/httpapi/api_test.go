package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

func TestPing(t *testing.T) {
	s := serve(t, Options{Version: "1.2.3"})
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/_ping", "/v1.41/_ping"} {
			status, header, body := s.do(method, path, "")
			if status != 200 || method == "GET" && body != "OK" || method == "HEAD" && body != "" {
				t.Errorf("%s %s: %d %q", method, path, status, body)
			}
			for key, want := range map[string]string{
				"Api-Version": "1.56", "Docker-Experimental": "false", "Ostype": "linux", "Server": "Gantry/1.2.3 (linux)",
				"Builder-Version": "1", "Swarm": "inactive", "Pragma": "no-cache",
				"Cache-Control": "no-cache, no-store, must-revalidate", "Content-Type": "text/plain; charset=utf-8",
			} {
				if header.Get(key) != want {
					t.Errorf("%s %s: header %s is %q, want %q", method, path, key, header.Get(key), want)
				}
			}
		}
	}
}

func TestErrors(t *testing.T) {
	s := serve(t, Options{})
	for _, tt := range []struct {
		status                int
		message, method, path string
		body                  string
	}{
		{404, `{"message":"page not found"}`, "GET", "/nothing", ""},
		{404, `{"message":"page not found"}`, "GET", "/v1.41/nothing", ""},
		{404, `{"message":"page not found"}`, "GET", "/v1.x/info", ""},
		{404, `{"message":"page not found"}`, "GET", "/v1.41", ""},
		{404, `{"message":"page not found"}`, "PUT", "/info", ""},
		{404, `{"message":"page not found"}`, "GET", "/debug/vars", ""},
		{400, "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version", "GET", "/v1.39/info", ""},
		{400, "client version 1.57 is too new. Maximum supported API version is 1.56", "GET", "/v1.57/info", ""},
		{400, "client version 2.0 is too new", "GET", "/v2/info", ""},
		{400, "invalid URL escape", "GET", "/info?a=%zz", ""},
		{404, "No such container: x", "GET", "/containers/x/json", ""},
		{404, "No such container: x", "GET", "/containers//x/json", ""},
		{404, "cannot kill container: x: No such container: x", "POST", "/containers/x/kill", ""},
		{400, "invalid condition: \\\"later\\\"", "POST", "/containers/x/wait?condition=later", ""},
		{400, "Bad parameters: you must choose at least one stream", "GET", "/containers/x/logs", ""},
		{400, `invalid value for \"since\": invalid timestamp \"yesterday\"`, "GET", "/containers/x/logs?stdout=1&since=yesterday", ""},
		{400, `invalid resize height \"\": invalid syntax`, "POST", "/containers/x/resize?w=1", ""},
		{400, `invalid resize width \"70000\": value out of range`, "POST", "/containers/x/resize?h=1&w=70000", ""},
		{400, "invalid filter", "GET", "/containers/json?filters=x", ""},
		{400, "strconv.Atoi", "GET", "/containers/json?limit=x", ""},
		{400, "strconv.Atoi", "POST", "/containers/x/stop?t=x", ""},
		{400, "invalid container name or ID: value is empty", "DELETE", "/containers/", ""},
		{400, "image name cannot be blank", "DELETE", "/images/", ""},
		{400, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24", "POST", "/containers/x/start", `{"Binds":[]}`},
		{409, "volume is in use", "DELETE", "/volumes/v", ""},
		{404, "get v: no such volume", "GET", "/volumes/v", ""},
		{404, "network x not found", "GET", "/networks/x", ""},
		{501, "This experimental feature is disabled by default. Start the Docker daemon in experimental mode", "GET", "/containers/x/checkpoints", ""},
		{501, "This experimental feature is disabled by default.", "POST", "/containers/x/checkpoints", `{"CheckpointID":"c"}`},
		{501, "This experimental feature is disabled by default.", "DELETE", "/containers/x/checkpoints/c", ""},
		{400, "checkpoint is only supported in experimental mode", "POST", "/containers/x/start?checkpoint=c", ""},
		{503, "This node is not a swarm manager. Use \\\"docker swarm init\\\"", "GET", "/nodes", ""},
		{503, "This node is not a swarm manager.", "GET", "/services/abc/logs", ""},
		{503, "This node is not part of a swarm", "POST", "/swarm/leave", ""},
		{503, "volume update only valid for cluster volumes", "PUT", "/volumes/x", ""},
		{503, "This node is not a swarm manager.", "POST", "/volumes/create", `{"ClusterVolumeSpec":{}}`},
		{401, "unauthorized: incorrect username or password", "POST", "/auth", `{"username":"a","password":"wrong"}`},
		{400, "invalid JSON", "POST", "/auth", `{`},
		{400, "unknown object type: plugin", "GET", "/system/df?type=plugin", ""},
		{400, "`since` time (5) cannot be after `until` time (4)", "GET", "/events?since=5&until=4", ""},
		{400, "invalid value for 'since'", "GET", "/events?since=x", ""},
		{404, "No such exec instance: x", "GET", "/exec/x/json", ""},
		{404, "No such exec instance: x", "POST", "/exec/x/start", `{}`},
		{400, "No exec command specified", "POST", "/containers/x/exec", `{}`},
		{400, "invalid reference format", "POST", "/images/create?fromImage=UPPER", ""},
		{400, "invalid tag format", "POST", "/images/create?fromImage=busybox&tag=a%20b", ""},
		{404, "pull access denied", "POST", "/images/create?fromImage=denied&tag=latest", ""},
		{400, "both OS and Architecture must be provided", "GET", "/images/busybox/json?platform=%7B%22os%22:%22linux%22%7D", ""},
		{400, "manifests and platform options cannot both be set", "GET", "/images/b/json?manifests=1&platform=%7B%22os%22:%22linux%22,%22architecture%22:%22amd64%22%7D", ""},
		{404, "image with reference busybox was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)", "GET", "/images/busybox/json?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22arm64%22%7D", ""},
		{400, "cannot import digest reference", "POST", "/images/a/tag?repo=b@sha256:" + strings.Repeat("0", 64), ""},
		{400, "refusing to create an ambiguous tag using digest algorithm as name", "POST", "/images/a/tag?repo=sha256&tag=x", ""},
		{404, "No such image: missing", "GET", "/images/missing/get", ""},
		{400, "identity requires manifests=1", "GET", "/images/json?identity=1", ""},
		{400, "multiple platform parameters are not supported", "GET", "/v1.50/images/get?names=a&platform=x&platform=y", ""},
	} {
		s.want(tt.status, tt.message, tt.method, tt.path, tt.body)
	}
}

func TestNotModifiedHasNoBody(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, `"Warnings":[]`, "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	s.want(204, "", "POST", "/containers/a/start", "")
	if status, _, body := s.do("POST", "/containers/a/start", ""); status != 304 || body != "" {
		t.Errorf("start of a running container: %d %q", status, body)
	}
	s.want(204, "", "POST", "/containers/a/stop?t=3&signal=HUP", "")
	if status, _, body := s.do("POST", "/v1.41/containers/a/stop?signal=HUP", ""); status != 304 || body != "" {
		t.Errorf("stop of a stopped container: %d %q", status, body)
	}
	// Signals came with 1.42.
	if got := strings.Join(s.containers.stopped, "|"); got != "a HUP 3|a default default" {
		t.Errorf("stopped %q", got)
	}
}

func TestBadBodies(t *testing.T) {
	s := serve(t, Options{})
	const create = "/containers/create"
	s.want(400, "config cannot be empty in order to create a container", "POST", create, `{}`)
	s.want(400, "config cannot be empty in order to create a container", "POST", create, `null`)
	s.want(400, "invalid JSON: invalid character", "POST", create, `{"Image":`+"\x01")
	s.want(400, "invalid JSON: unexpected EOF", "POST", create, `{"Image":`)
	s.want(400, "invalid JSON: EOF", "POST", create, "")
	endpoint := func(ipam string) string {
		return `{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":{` + ipam + `}},"b":null}}}`
	}
	const bad = `invalid config for network bridge: invalid endpoint settings:\n`
	s.want(400, bad+`invalid IPv4 address: x"`, "POST", create, endpoint(`"IPv4Address":"x","IPv6Address":""`))
	s.want(400, bad+`* invalid IPv6 address: y\n* invalid link-local IP address: z"`, "POST", create, endpoint(`"IPv4Address":"1.2.3.4","IPv6Address":"y","LinkLocalIPs":["1.2.3.4","z"]`))
	s.want(400, "invalid JSON: json", "POST", create, endpoint(`"IPv4Address":"1.2.3.4","LinkLocalIPs":3`))
	s.want(400, "unexpected content after JSON", "POST", create, `{"Image":"a"}{}`)
	s.want(400, "unsupported Content-Type header (text/plain): must be 'application/json'", "POST", create, `{}`, "Content-Type", "text/plain")
	s.want(400, "malformed Content-Type header (;)", "POST", create, `{}`, "Content-Type", ";")
	s.want(201, `"Id":`, "POST", create, `{"Image":"a"}`, "Content-Type", "application/json; charset=utf-8")
	s.want(413, "request body exceeds 4194304 bytes", "POST", create, `{"Image":"`+strings.Repeat("a", maxJSONBody)+`"}`)
	s.want(413, "request body", "POST", "/volumes/create", `{"Name":"`+strings.Repeat("a", maxJSONBody)+`"}`)
	s.want(413, "invalid JSON", "POST", "/auth", `{"username":"`+strings.Repeat("a", maxJSONBody)+`"}`)
	// An absent body is no error where every member is optional.
	s.want(201, `"Driver":"local"`, "POST", "/volumes/create", "")
}

type panicking struct{ engine.System }

func TestPanicGives500(t *testing.T) {
	s := serve(t, Options{})
	s.api.backend.System = panicking{}
	s.want(500, "internal error", "GET", "/info", "")
	s.want(200, "OK", "GET", "/_ping", "") // the server lives on
}

func TestInternalErrorsAre500(t *testing.T) {
	s := serve(t, Options{})
	s.system.fail = errors.New("disk on fire")
	s.want(500, `{"message":"disk on fire"}`, "GET", "/info", "")
	s.system.fail = errs.New(errs.Permission, "no")
	s.want(403, `{"message":"no"}`, "GET", "/version", "")
}

func TestMinVersion(t *testing.T) {
	for _, bad := range []string{"1.23", "1.57", "x"} {
		if _, err := New(engine.Backend{}, Options{MinVersion: bad}); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("minimum %s: %v", bad, err)
		}
	}
	s := serve(t, Options{MinVersion: "1.24"})
	s.want(200, `"MinAPIVersion":"1.24"`, "GET", "/v1.24/version", "")
	s.want(400, "client version 1.23 is too old. Minimum supported API version is 1.24", "GET", "/v1.23/version", "")
	s.want(400, "requires API version 1.25", "POST", "/v1.24/containers/prune", "")
}

func TestVersionNamesTheAPIsVersions(t *testing.T) {
	s := serve(t, Options{})
	_, _, body := s.do("GET", "/version", "")
	var v struct {
		ApiVersion, MinAPIVersion string
		Components                []struct{ Details map[string]string }
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	if v.ApiVersion != "1.56" || v.MinAPIVersion != "1.40" || v.Components[0].Details["ApiVersion"] != "1.56" || v.Components[0].Details["MinAPIVersion"] != "1.40" {
		t.Errorf("got %+v", v)
	}
}

func TestDebugRoutes(t *testing.T) {
	s := serve(t, Options{Debug: true})
	s.want(200, "cmdline", "GET", "/debug/vars", "")
	s.want(200, "goroutine", "GET", "/v1.56/debug/pprof/goroutine?debug=1", "")
}

func TestOptionsRequest(t *testing.T) {
	s := serve(t, Options{})
	status, header, _ := s.do("OPTIONS", "/containers/json", "")
	if status != 200 || header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d %v", status, header)
	}
}

// TestWaitAnswersAtOnce holds what `docker run` depends on: the header comes
// before the container ends.
func TestWaitAnswersAtOnce(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	s.want(204, "", "POST", "/containers/a/start", "")
	conn := s.dial()
	if _, err := io.WriteString(conn, "POST /v1.41/containers/a/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %v %v", resp, err)
	}
	s.want(204, "", "POST", "/containers/a/kill", "")
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != `{"StatusCode":137}`+"\n" {
		t.Errorf("got %q %v", body, err)
	}
}

func TestAbandonedWaitEnds(t *testing.T) {
	s := serve(t, Options{})
	s.want(201, "", "POST", "/containers/create?name=a", `{"Image":"x","Cmd":["sleep"]}`)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	handler := s.api
	go func() {
		defer close(ended)
		req, _ := http.NewRequestWithContext(ctx, "POST", "/containers/a/wait", nil)
		handler.ServeHTTP(discard{}, req)
	}()
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a wait whose client has gone goes on")
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
