package client

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	moby "github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// The tests in this file hold the client against moby's: both must send the
// same requests, and make the same errors of the same answers. The pairs of
// calls are in the other files of this name.

type pair struct {
	name   string
	ours   func(context.Context, *Client) error
	theirs func(context.Context, *moby.Client) error
}

var (
	arm   = ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	amd   = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	thing = Filters{}.Add("label", "a=b", "c").Add("name", "x")
	yes   = true
	five  = 5
	ab    = map[string]string{"a": "b"}
	cd    = map[string]string{"c": "d"}
)

func drop[T any](_ T, err error) error { return err }

func closing(r io.ReadCloser, err error) error {
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		_ = r.Close()
	}
	return err
}

func pairs() []pair {
	return slices.Concat(containerPairs(), streamPairs(), imagePairs(), networkPairs(), volumeAndPrunePairs(), systemPairs(), swarmPairs())
}

// recorder keeps what it is sent, as text, and gives one answer to all of it.
type recorder struct {
	version, contentType, body string
	status                     int

	mu       sync.Mutex // guards what follows
	requests []string
}

func (d *recorder) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.requests
	d.requests = nil
	return r
}

func (d *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/events") {
		r.Header.Del("Accept") // moby also takes a third format
	}
	var head bytes.Buffer
	_ = r.Header.WriteSubset(&head, nil)
	d.mu.Lock()
	d.requests = append(d.requests, fmt.Sprintf("%s %s\nHost: %s\n%sLength: %d %v\n%s\n",
		r.Method, r.RequestURI, r.Host, &head, r.ContentLength, r.TransferEncoding, body))
	d.mu.Unlock()
	if d.version != "" {
		w.Header().Set("Api-Version", d.version)
	}
	if r.URL.Path == "/_ping" {
		return
	}
	if r.Header.Get("Upgrade") != "" && d.status < 400 {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			_ = conn.Close()
		}
		return
	}
	w.Header().Set("X-Docker-Container-Path-Stat", "e30=")
	w.Header().Set("Content-Type", d.contentType)
	w.WriteHeader(d.status)
	answer := d.body
	if answer == "" && d.status < 400 {
		answer = "{}"
		if strings.HasSuffix(r.URL.Path, "/events") {
			answer = "" // nobody takes messages
		}
		for _, list := range []string{"/containers/json", "/images/json", "/networks", "/changes", "/history", "/checkpoints"} {
			if strings.HasSuffix(r.URL.Path, list) {
				answer = "[]"
			}
		}
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/images") {
			answer = "[]"
		}
	}
	_, _ = io.WriteString(w, answer)
}

// both gives a client of each kind for one daemon.
func both(t *testing.T, host string) (*Client, *moby.Client) {
	t.Helper()
	headers := map[string]string{"X-Mine": "1"}
	theirs, err := moby.New(moby.WithHost(host), moby.WithUserAgent("test"), moby.WithHTTPHeaders(headers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return connect(t, host, Options{UserAgent: "test", Headers: headers}), theirs
}

func TestRequestsAreMobys(t *testing.T) {
	for _, v := range []string{"1.56", "1.51", "1.47", "1.44", "1.24", ""} {
		d := &recorder{version: v, status: http.StatusOK, contentType: "application/json"}
		host := listen(t, d.ServeHTTP)
		for _, p := range pairs() {
			ours, theirs := both(t, host) // anew: the negotiation is compared, too
			err := p.ours(t.Context(), ours)
			got := slices.Compact(d.take()) // a daemon that is too old may be asked twice
			wantErr := p.theirs(t.Context(), theirs)
			if want := slices.Compact(d.take()); !slices.Equal(got, want) {
				t.Errorf("%s, API %s:\n got %s\nwant %s", p.name, v, got, want)
			}
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s, API %s: error %v, want %v", p.name, v, err, wantErr)
			}
			compareKinds(t, p.name, err, wantErr)
		}
	}
}

func compareKinds(t *testing.T, name string, got, want error) {
	t.Helper()
	if errs.Is(got, errs.NotFound) != cerrdefs.IsNotFound(want) || errs.Is(got, errs.InvalidArgument) != cerrdefs.IsInvalidArgument(want) {
		t.Errorf("%s: %v has kind %v", name, got, errs.KindOf(got))
	}
}

func TestErrorsAreMobys(t *testing.T) {
	ask := []pair{
		{"GET",
			func(ctx context.Context, c *Client) error { return drop(c.Info(ctx)) },
			func(ctx context.Context, c *moby.Client) error { return drop(c.Info(ctx, moby.InfoOptions{})) }},
		{"HEAD",
			func(ctx context.Context, c *Client) error {
				return drop(c.ContainerStatPath(ctx, "x", ContainerStatPathOptions{}))
			},
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerStatPath(ctx, "x", moby.ContainerStatPathOptions{}))
			}},
		{"POST",
			func(ctx context.Context, c *Client) error { return c.ContainerStart(ctx, "x", ContainerStartOptions{}) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ContainerStart(ctx, "x", moby.ContainerStartOptions{}))
			}},
		{"stream",
			func(ctx context.Context, c *Client) error { return closing(c.ContainerExport(ctx, "x")) },
			func(ctx context.Context, c *moby.Client) error {
				return closing(c.ContainerExport(ctx, "x", moby.ContainerExportOptions{}))
			}},
		{"hijack",
			func(ctx context.Context, c *Client) error { return drop(c.ExecAttach(ctx, "x", ExecAttachOptions{})) },
			func(ctx context.Context, c *moby.Client) error {
				return drop(c.ExecAttach(ctx, "x", moby.ExecAttachOptions{}))
			}},
	}
	for _, status := range []int{400, 401, 403, 404, 405, 409, 412, 418, 429, 500, 501, 502, 503, 599} {
		for _, body := range []string{"", "plain text\n", `{"message":"it is so\n"}`, `{"message":""}`, `{}`, `{"message":`, `[1]`, "<html>"} {
			for _, contentType := range []string{"application/json", "text/plain", "application/json; charset=utf-8"} {
				d := &recorder{version: "1.56", status: status, body: body, contentType: contentType}
				ours, theirs := both(t, listen(t, d.ServeHTTP))
				for _, p := range ask {
					err, want := p.ours(t.Context(), ours), p.theirs(t.Context(), theirs)
					if err == nil || err.Error() != want.Error() {
						t.Errorf("%s, %d %s %q: %v, want %v", p.name, status, contentType, body, err, want)
					}
					compareKinds(t, p.name, err, want)
				}
			}
		}
	}
	d := &recorder{version: "1.56", status: 500, body: strings.Repeat("x", maxMessage+1)}
	ours, theirs := both(t, listen(t, d.ServeHTTP))
	if err, want := ask[0].ours(t.Context(), ours), ask[0].theirs(t.Context(), theirs); err.Error() != want.Error() {
		t.Errorf("a long message: %v, want %v", err, want)
	}
}

// Connections that cannot be made are told in the same words.
func TestConnectErrorsAreMobys(t *testing.T) {
	for _, host := range []string{
		"unix:///nonexistent/d.sock", "unix://" + t.TempDir(), "unix://" + staleSocket(t), "tcp://" + closedPort(t),
		"tcp://" + closedPort(t) + "/base", "tcp://" + garbler(t), "tcp://" + plainServer(t),
	} {
		ours, theirs := both(t, host)
		_, err := ours.Info(t.Context())
		_, want := theirs.Info(t.Context(), moby.InfoOptions{})
		if err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%s:\n got %v\nwant %v", host, err, want)
		}
		_, err = ours.ContainerAttach(t.Context(), "x", ContainerAttachOptions{})
		_, want = theirs.ContainerAttach(t.Context(), "x", moby.ContainerAttachOptions{})
		if err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%s, hijacked:\n got %v\nwant %v", host, err, want)
		}
	}
}

func staleSocket(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// garbler answers as a server does that waits for TLS.
func garbler(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = conn.Write([]byte{0x15, 3, 1, 0, 2, 2, 22, '\n'})
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// The sums that the client makes for older daemons, and what it reads of newer.
func TestDiskUsageIsMobys(t *testing.T) {
	const old = `{"LayersSize":1000,
		"Images":[{"Id":"a","Containers":1,"Size":500,"SharedSize":100},{"Id":"b","Containers":0,"Size":300,"SharedSize":100},
			{"Id":"c","Containers":-1,"Size":1,"SharedSize":0},{"Id":"d","Containers":0,"Size":5,"SharedSize":-1},{"Id":"e","Containers":0,"Size":-1,"SharedSize":5}],
		"Containers":[{"Id":"a","State":"running","SizeRw":10},{"Id":"b","State":"exited","SizeRw":20},{"Id":"c","State":"paused","SizeRw":5},
			{"Id":"d","State":"restarting","SizeRw":1},{"Id":"e","State":"created"},{"Id":"f","State":"dead","SizeRw":7}],
		"Volumes":[{"Name":"a","UsageData":{"RefCount":1,"Size":100}},{"Name":"b","UsageData":{"RefCount":0,"Size":50}},{"Name":"c"},
			{"Name":"d","UsageData":{"RefCount":1,"Size":-1}},{"Name":"e","UsageData":{"RefCount":-1,"Size":-1}}],
		"BuildCache":[{"ID":"a","Size":10,"InUse":true},{"ID":"b","Size":20,"Shared":true},{"ID":"c","Size":30},{"ID":"d","Size":40,"InUse":true,"Shared":true}]}`
	const recent = `{"ImageUsage":{"ActiveCount":1,"TotalCount":2,"Reclaimable":3,"TotalSize":4,"Items":[{"Id":"a"}]},
		"ContainerUsage":{"ActiveCount":5,"TotalCount":6,"Reclaimable":7,"TotalSize":8,"Items":[{"Id":"b"}]},
		"VolumeUsage":{"ActiveCount":9,"TotalCount":10,"Reclaimable":11,"TotalSize":12,"Items":[{"Name":"c"}]},
		"BuildCacheUsage":{"ActiveCount":13,"TotalCount":14,"Reclaimable":15,"TotalSize":16,"Items":[{"ID":"d"}]}}`
	for _, tt := range []struct{ version, body string }{{"1.51", old}, {"1.51", "{}"}, {"1.52", recent}, {"1.56", "{}"}} {
		d := &recorder{version: tt.version, status: 200, body: tt.body}
		ours, theirs := both(t, listen(t, d.ServeHTTP))
		got, err := ours.DiskUsage(t.Context(), DiskUsageOptions{Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		want, err := theirs.DiskUsage(t.Context(), moby.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true, Verbose: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Containers", "Images", "Volumes", "BuildCache"} {
			for _, field := range []string{"ActiveCount", "TotalCount", "Reclaimable", "TotalSize", "Items"} {
				g := reflect.ValueOf(got).FieldByName(name).FieldByName(field).Interface()
				w := reflect.ValueOf(want).FieldByName(name).FieldByName(field).Interface()
				if !reflect.DeepEqual(g, w) {
					t.Errorf("API %s: %s.%s is %v, want %v", tt.version, name, field, g, w)
				}
			}
		}
	}
}

func TestTimesAreMobys(t *testing.T) {
	now := time.Now()
	_, offset := now.Zone()
	d := &recorder{version: "1.56", status: 200}
	ours, theirs := both(t, listen(t, d.ServeHTTP))
	for _, v := range []string{
		"0", "1", "1500000000", "1500000000.123456789", "1500000000.5", "-1", "1.x", "x", "1h30", "", "now", "2013", "2013-01", "2013-01-02",
		"2013-01-02Z", "2013-01-02+01:00",
		"2013-01-02-01:00", "2013-01-02T13", "2013-01-02T13Z", "2013-01-02T13+01:00", "2013-01-02T13-01:00", "2013-01-02T13:23",
		"2013-01-02T13:23Z", "2013-01-02T13:23+01:00",
		"2013-01-02T13:23-01:00", "2013-01-02T13:23:37", "2013-01-02T13:23:37Z", "2013-01-02T13:23:37z", "2013-01-02T13:23:37+01:00",
		"2013-01-02T13:23:37-01:00",
		"2013-01-02T13:23:37.123", "2013-01-02T13:23:37.123456789Z", "2013-01-02T13:23:37.1+01:00", "2013-13-02", "2013-01-02T25:00",
		"2013-01-02 13:23", "2013-01-02T13:23:37:12",
		"20130102", "13:23", "T", "T13", "+", "Z", "-", "--", "---", ".", "1.2.3", "2013-01-02.5",
	} {
		get := func(ask func() error) (string, string) {
			err := ask()
			query := ""
			if r := d.take(); len(r) > 0 {
				query, _, _ = strings.Cut(r[len(r)-1], "\n")
			}
			return query, fmt.Sprint(err)
		}
		query, err := get(func() error { return closing(ours.ContainerLogs(t.Context(), "x", ContainerLogsOptions{Until: v})) })
		wantQuery, wantErr := get(func() error {
			return closing(theirs.ContainerLogs(t.Context(), "x", moby.ContainerLogsOptions{Until: v}))
		})
		if query != wantQuery || err != wantErr {
			t.Errorf("%q (offset %d): %s, %s; want %s, %s", v, offset, query, err, wantQuery, wantErr)
		}
	}
	if got, err := timestamp("90m", time.Unix(10000, 0)); err != nil || got != "4600" {
		t.Errorf("%s, %v", got, err)
	}
}
