package image

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// openService opens a store below root and closes it with the test.
func openService(t testing.TB, o Options) *Service {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	o.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	closeOnce := func() {
		once.Do(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close service: %v", err)
			}
		})
	}
	t.Cleanup(closeOnce)
	closers.Store(s, closeOnce)
	return s
}

// closers close a service before its test ends.
var closers sync.Map

func closeService(s *Service) {
	c, _ := closers.Load(s)
	c.(func())()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }

// startRegistry starts a real registry; its name is the prefix of images.
func startRegistry(t testing.TB, o testimage.ServerOptions) (*testimage.Server, testimage.Registry) {
	t.Helper()
	o.Stderr = testWriter{t}
	srv, err := testimage.StartServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close registry: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	reg := srv.Registry()
	if o.Auth != "" {
		reg.Username, reg.Password = testimage.ServerUser, testimage.ServerPassword
	}
	return srv, reg
}

// recorder is an engine.Progress that remembers.
type recorder struct {
	mu     sync.Mutex
	lines  []string
	bytes  map[string]int64 // last current by "id status"
	onByte func(id, status string, current, total int64)
}

func (r *recorder) Message(id, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != "" {
		status = id + ": " + status
	}
	r.lines = append(r.lines, status)
}

func (r *recorder) Bytes(id, status string, current, total int64) {
	r.mu.Lock()
	if r.bytes == nil {
		r.bytes = map[string]int64{}
	}
	r.bytes[id+" "+status] = current
	hook := r.onByte
	r.mu.Unlock()
	if hook != nil {
		hook(id, status, current, total)
	}
}

func (r *recorder) Stream(text string) { r.Message("", text) }

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func (r *recorder) has(t testing.TB, line string) {
	t.Helper()
	if !slices.Contains(r.all(), line) {
		t.Errorf("no line %q in:\n%s", line, strings.Join(r.all(), "\n"))
	}
}

// eventLog is an engine.Publisher that remembers.
type eventLog struct {
	mu   sync.Mutex
	list []string
}

func (l *eventLog) Publish(t events.Type, a events.Action, id string, attributes map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf("%s %s %s %s", t, a, id, attributes["name"]))
}

func (s *Service) mustPull(t testing.TB, ref string) *recorder {
	t.Helper()
	r := &recorder{}
	if err := s.Pull(t.Context(), engine.ImagePull{Ref: ref}, r); err != nil {
		t.Fatalf("pull %s: %v\n%s", ref, err, strings.Join(r.all(), "\n"))
	}
	return r
}

func publishImage(t testing.TB, reg testimage.Registry, repo, tag string, img testimage.Image, err error) testimage.Image {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Push(t.Context(), repo, tag, img); err != nil {
		t.Fatal(err)
	}
	return img
}

// mountRootfs mounts a container's root and gives its path.
func mountRootfs(t testing.TB, s *Service, key string) string {
	t.Helper()
	mounts, err := s.RootfsMounts(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	for _, m := range mounts {
		flags, data := uintptr(0), []string{}
		for _, o := range m.Options {
			switch o {
			case "rbind":
				flags |= unix.MS_BIND | unix.MS_REC
			case "rw":
			default:
				data = append(data, o)
			}
		}
		if err := unix.Mount(m.Source, at, m.Type, flags, strings.Join(data, ",")); err != nil {
			t.Fatalf("mount %+v: %v", m, err)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return at
}

// prepare makes a container's root of an image and mounts it.
func prepare(t testing.TB, s *Service, key, ref string) string {
	t.Helper()
	img, err := s.Resolve(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PrepareRootfs(t.Context(), key, img, nil); err != nil {
		t.Fatal(err)
	}
	return mountRootfs(t, s, key)
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// leftovers lists what a store holds besides its databases: blobs, unfinished
// downloads, snapshots, root file systems, leases and records.
func leftovers(t testing.TB, s *Service) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"content/blobs/sha256", "content/ingest", s.Driver() + "/snapshots", "rootfs"} {
		names, err := os.ReadDir(filepath.Join(s.opts.Root, dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, n := range names {
			if n.Name() != trashDir {
				line := dir + "/" + n.Name()
				if ref, err := os.ReadFile(filepath.Join(s.opts.Root, line, "ref")); err == nil {
					line += " " + string(ref) // an unfinished blob
				}
				all = append(all, line)
			}
		}
	}
	ctx := scoped(context.Background())
	ls, err := s.Leases.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		if l.ID != rootfsLease {
			all = append(all, "lease "+l.ID)
		}
	}
	records, err := s.Images.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		all = append(all, "record "+r.Name)
	}
	sort.Strings(all)
	return all
}

func wantEmpty(t testing.TB, s *Service) {
	t.Helper()
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func diskUsage(t testing.TB, root string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil && fi.Mode().IsRegular() {
			n += fi.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// within waits for what happens in the background.
func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

// fakeRegistry serves documents that no real registry would. hook may answer a
// request itself.
type fakeRegistry struct {
	host string
	docs map[string]fakeDoc // by path
	hook func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []string // method, path and Range
}

type fakeDoc struct {
	mediaType string
	data      []byte
}

func startFake(t testing.TB) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{docs: map[string]fakeDoc{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.host = strings.TrimPrefix(srv.URL, "http://")
	return f
}

// add serves an image as repo:tag.
func (f *fakeRegistry) add(repo, tag string, img testimage.Image) {
	d := img.Descriptor()
	for _, ref := range []string{tag, d.Digest.String()} {
		f.docs["/v2/"+repo+"/manifests/"+ref] = fakeDoc{d.MediaType, img.Manifest}
	}
	f.docs["/v2/"+repo+"/blobs/"+img.ID()] = fakeDoc{"application/octet-stream", img.Config}
	for _, l := range img.Layers {
		f.docs["/v2/"+repo+"/blobs/"+l.Digest.String()] = fakeDoc{"application/octet-stream", l.Blob}
	}
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	f.mu.Unlock()
	if f.hook != nil && f.hook(w, r) {
		return
	}
	d, ok := f.docs[r.URL.Path]
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", d.mediaType)
	if strings.Contains(r.URL.Path, "/manifests/") {
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(d.data).String())
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.data))
}

func (f *fakeRegistry) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func mustDigest(s string) digest.Digest {
	d, err := digest.Parse(s)
	if err != nil {
		panic(err)
	}
	return d
}
