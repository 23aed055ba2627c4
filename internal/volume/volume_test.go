package volume

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Mount,
		Gates:      []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts},
	})
}

// world is a store with what it talks to.
type world struct {
	*Service
	root string

	mu     sync.Mutex
	used   map[string][]string
	events []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{root: t.TempDir(), used: map[string][]string{}}
	w.open(t)
	t.Cleanup(func() {
		for _, v := range w.all() {
			v.mu.Lock()
			if err := v.unmount(); err != nil {
				t.Error(err)
			}
			v.mu.Unlock()
		}
		w.Close()
	})
	return w
}

// open starts a service on the root, as a new daemon would.
func (w *world) open(t *testing.T) {
	t.Helper()
	s, err := New(t.Context(), Options{Root: w.root, InUse: w.inUse, Events: w, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
}

func (w *world) inUse(name string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used[name]
}

func (w *world) use(name string, ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used[name] = ids
}

func (w *world) Publish(typ events.Type, action events.Action, id string, attributes map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprint(typ, " ", action, " ", id, " ", attributes))
}

func (w *world) create(t *testing.T, req volumetypes.CreateRequest) volumetypes.Volume {
	t.Helper()
	v, err := w.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) names(t *testing.T, filters engine.Filters) []string {
	t.Helper()
	list, err := w.List(t.Context(), filters)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, v := range list.Volumes {
		names = append(names, v.Name)
	}
	return names
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	labels := map[string]string{"tier": "db"}
	v := w.create(t, volumetypes.CreateRequest{Name: "data", Labels: labels})
	labels["tier"] = "changed"
	if v.Name != "data" || v.Driver != "local" || v.Scope != "local" || v.Labels["tier"] != "db" || v.Options != nil {
		t.Errorf("%+v", v)
	}
	if want := filepath.Join(w.root, "volumes", "data", "_data"); v.Mountpoint != want {
		t.Errorf("mountpoint %s; want %s", v.Mountpoint, want)
	}
	if at, err := time.Parse(time.RFC3339, v.CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created at %q, %v", v.CreatedAt, err)
	}
	info, err := os.Stat(v.Mountpoint)
	if err != nil || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again := w.create(t, volumetypes.CreateRequest{Name: "data", Driver: "local", Labels: map[string]string{"other": "x"}})
	if again.Labels["tier"] != "db" || len(again.Labels) != 1 {
		t.Errorf("creating again changed the labels: %v", again.Labels)
	}
	if want := []string{"volume create data map[driver:local]"}; !slices.Equal(w.events, want) {
		t.Errorf("events %v; want %v", w.events, want)
	}
}

func TestAnonymous(t *testing.T) {
	w := newWorld(t)
	v := w.create(t, volumetypes.CreateRequest{})
	if _, ok := v.Labels["com.docker.volume.anonymous"]; !ok || !anonymousName.MatchString(v.Name) {
		t.Errorf("%+v", v)
	}
	ref, err := w.Ensure(t.Context(), "", "", nil, nil)
	if err != nil || !ref.Fresh || ref.Name == v.Name || ref.Path != filepath.Join(w.root, "volumes", ref.Name, "_data") {
		t.Errorf("%+v, %v", ref, err)
	}
	for range 2 {
		if err := w.RemoveAnonymous(t.Context(), ref.Name); err != nil {
			t.Error(err)
		}
	}
	w.use(v.Name, "c1")
	if err := w.RemoveAnonymous(t.Context(), v.Name); err != nil {
		t.Error(err)
	}
	if got := w.names(t, nil); !slices.Equal(got, []string{v.Name}) {
		t.Errorf("left: %v", got)
	}
}

func TestInvalidRequests(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		req  volumetypes.CreateRequest
		kind errs.Kind
		text string
	}{
		{volumetypes.CreateRequest{Name: "x"}, errs.InvalidArgument, "create x: volume name is too short, names should be at least two alphanumeric characters"},
		{volumetypes.CreateRequest{Name: "a/b"}, errs.InvalidArgument, `create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{volumetypes.CreateRequest{Name: ".."}, errs.InvalidArgument, "includes invalid characters"},
		{volumetypes.CreateRequest{Name: ".removed-x"}, errs.InvalidArgument, "includes invalid characters"},
		{volumetypes.CreateRequest{Name: "ok\n"}, errs.InvalidArgument, "includes invalid characters"},
		{volumetypes.CreateRequest{Name: strings.Repeat("n", 250)}, errs.InvalidArgument, "too long"},
		{volumetypes.CreateRequest{Name: "ab", Driver: "rexray"}, errs.NotFound, `create ab: error looking up volume plugin rexray: plugin "rexray" not found`},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"colour": "red"}}, errs.InvalidArgument, `create ab: invalid option: "colour"`},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"type": "tmpfs"}}, errs.InvalidArgument, `create ab: missing required option: "device"`},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"device": "/x"}}, errs.InvalidArgument, `create ab: missing required option: "type"`},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"o": "bind"}}, errs.InvalidArgument, `create ab: missing required option: "device"`},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"size": "10m"}}, errs.InvalidArgument, "create ab: quota size requested but no quota support"},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"size": "ten"}}, errs.InvalidArgument, "invalid size"},
		{volumetypes.CreateRequest{Name: "ab", DriverOpts: map[string]string{"type": "cifs", "device": "//h:445/x"}}, errs.InvalidArgument, "port not allowed in CIFS device URL"},
	} {
		_, err := w.Create(t.Context(), c.req)
		if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v (%v); want %q (%v)", c.req, err, errs.KindOf(err), c.text, c.kind)
		}
	}
	entries, err := os.ReadDir(filepath.Join(w.root, "volumes"))
	if err != nil || len(entries) != 0 || len(w.events) != 0 {
		t.Errorf("left %v, %v, events %v", entries, err, w.events)
	}
}

func TestMissing(t *testing.T) {
	w := newWorld(t)
	_, err := w.Inspect(t.Context(), "nope")
	if !errs.Is(err, errs.NotFound) || err.Error() != "get nope: no such volume" {
		t.Errorf("inspect: %v", err)
	}
	if err := w.Remove(t.Context(), "nope", false); !errs.Is(err, errs.NotFound) || err.Error() != "get nope: no such volume" {
		t.Errorf("remove: %v", err)
	}
	if err := w.Remove(t.Context(), "nope", true); err != nil {
		t.Errorf("forced remove: %v", err)
	}
	if err := w.Unmount(t.Context(), "nope", "c"); err != nil {
		t.Errorf("unmount: %v", err)
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	w.create(t, volumetypes.CreateRequest{Name: "db-data", Labels: map[string]string{"tier": "db", "env": "test"}})
	w.create(t, volumetypes.CreateRequest{Name: "cache"})
	w.create(t, volumetypes.CreateRequest{Name: "web-data", Labels: map[string]string{"tier": "web"}})
	w.use("cache", "c1")
	for _, c := range []struct {
		filters engine.Filters
		want    []string
	}{
		{nil, []string{"cache", "db-data", "web-data"}},
		{engine.Filters{"name": {"data"}}, []string{"db-data", "web-data"}},
		{engine.Filters{"name": {"^db", "cache"}}, []string{"cache", "db-data"}},
		{engine.Filters{"name": {"("}}, []string{}},
		{engine.Filters{"driver": {"local"}}, []string{"cache", "db-data", "web-data"}},
		{engine.Filters{"driver": {"nfs"}}, []string{}},
		{engine.Filters{"label": {"tier"}}, []string{"db-data", "web-data"}},
		{engine.Filters{"label": {"tier=db", "env"}}, []string{"db-data"}},
		{engine.Filters{"label": {"tier=db", "tier=web"}}, []string{}},
		{engine.Filters{"dangling": {"true"}}, []string{"db-data", "web-data"}},
		{engine.Filters{"dangling": {"0"}}, []string{"cache"}},
	} {
		if got := w.names(t, c.filters); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v; want %v", c.filters, got, c.want)
		}
	}
	for text, filters := range map[string]engine.Filters{
		"invalid filter 'colour'":         {"colour": {"red"}},
		"invalid filter 'dangling=[yes]'": {"dangling": {"yes"}},
	} {
		if _, err := w.List(t.Context(), filters); !errs.Is(err, errs.InvalidArgument) || err.Error() != text {
			t.Errorf("%v: %v; want %s", filters, err, text)
		}
	}
}

func TestRemove(t *testing.T) {
	w := newWorld(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "data"})
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.use("data", "c2", "c1")
	for _, force := range []bool{false, true} {
		if err := w.Remove(t.Context(), "data", force); !errs.Is(err, errs.Conflict) || err.Error() != "remove data: volume is in use - [c1, c2]" {
			t.Errorf("in use, force %v: %v", force, err)
		}
	}
	w.use("data")
	if err := w.Remove(t.Context(), "data", false); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(w.root, "volumes"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if got := w.events[len(w.events)-1]; got != "volume destroy data map[driver:local]" {
		t.Errorf("last event %q", got)
	}
	if ref, err := w.Ensure(t.Context(), "data", "", nil, nil); err != nil || !ref.Fresh {
		t.Errorf("created again: %+v, %v", ref, err)
	}
}

func TestFresh(t *testing.T) {
	w := newWorld(t)
	ensure := func(want bool) string {
		t.Helper()
		ref, err := w.Ensure(t.Context(), "data", "local", nil, nil)
		if err != nil || ref.Fresh != want {
			t.Errorf("fresh %v, %v; want %v", ref.Fresh, err, want)
		}
		return ref.Path
	}
	ensure(true)
	path := ensure(true)
	if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ensure(false)
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	named := w.create(t, volumetypes.CreateRequest{Name: "named", Labels: map[string]string{"keep": "no"}})
	w.create(t, volumetypes.CreateRequest{Name: "kept", Labels: map[string]string{"keep": "yes"}})
	w.create(t, volumetypes.CreateRequest{Name: "tmp", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}})
	anon, used := w.create(t, volumetypes.CreateRequest{}), w.create(t, volumetypes.CreateRequest{})
	w.use(used.Name, "c1")
	for _, v := range []volumetypes.Volume{named, anon} {
		if err := os.WriteFile(filepath.Join(v.Mountpoint, "f"), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(v.Mountpoint, "f"), filepath.Join(v.Mountpoint, "g")); err != nil {
			t.Fatal(err)
		}
	}
	prune := func(filters engine.Filters, want ...string) {
		t.Helper()
		w.events = nil
		report, err := w.Prune(t.Context(), filters)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(report.VolumesDeleted, want) || report.SpaceReclaimed != uint64(1000*len(want)) {
			t.Errorf("prune %v: %+v; want %v", filters, report, want)
		}
		if got, want := w.events[len(w.events)-1], fmt.Sprintf("volume prune  map[reclaimed:%d]", report.SpaceReclaimed); got != want {
			t.Errorf("last event %q; want %q", got, want)
		}
	}
	prune(nil, anon.Name)
	prune(engine.Filters{"all": {"0"}})
	prune(engine.Filters{"all": {"true"}, "label!": {"keep=yes"}}, "named")
	if got := w.names(t, nil); len(got) != 3 {
		t.Errorf("left: %v", got)
	}
	for text, filters := range map[string]engine.Filters{
		"invalid filter 'dangling'": {"dangling": {"true"}},
		`invalid filter 'all': strconv.ParseBool: parsing "some": invalid syntax`: {"all": {"some"}},
		"invalid filter 'all=[1 0]': only one value is expected":                  {"all": {"1", "0"}},
	} {
		if _, err := w.Prune(t.Context(), filters); !errs.Is(err, errs.InvalidArgument) || err.Error() != text {
			t.Errorf("%v: %v; want %s", filters, err, text)
		}
	}
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "data"})
	w.create(t, volumetypes.CreateRequest{Name: "tmp", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}})
	if err := os.MkdirAll(filepath.Join(v.Mountpoint, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "a/b/f"), make([]byte, 4321), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(v.Mountpoint, "a/root")); err != nil {
		t.Fatal(err)
	}
	w.use("data", "c1", "c2")
	usage, err := w.Usage(t.Context())
	if err != nil || len(usage) != 1 {
		t.Fatalf("%+v, %v", usage, err)
	}
	if u := usage[0].UsageData; u.RefCount != 2 || u.Size < 4321 || u.Size > 5000 {
		t.Errorf("%+v", u)
	}
}

// TestRestart: a new daemon finds what the old one had.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	before := []volumetypes.Volume{
		w.create(t, volumetypes.CreateRequest{Name: "aa", Labels: map[string]string{"k": "v"}}),
		w.create(t, volumetypes.CreateRequest{Name: "bb", Labels: map[string]string{}, DriverOpts: map[string]string{}}),
		w.create(t, volumetypes.CreateRequest{Name: "cc", DriverOpts: map[string]string{"type": "none", "device": "/x", "o": "bind"}}),
	}
	w.open(t)
	list, err := w.List(t.Context(), nil)
	if err != nil || len(list.Volumes) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, v := range list.Volumes {
		if fmt.Sprintf("%#v", v) != fmt.Sprintf("%#v", before[i]) {
			t.Errorf("after restart %#v; was %#v", v, before[i])
		}
	}
}

// TestKilled: each state in which a daemon can be killed is settled at start.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.root, "volumes")
	mk := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, content string) {
		t.Helper()
		mk(filepath.Dir(path))
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mk("no-record")
	write("torn-record/.tmp-volume.json-123", "{")
	write("no-data/volume.json", `{"Name":"no-data","Driver":"local","CreatedAt":"2026-01-02T03:04:05Z"}`)
	write("half-copied/volume.json", `{"Name":"half-copied","Driver":"local","CreatedAt":"2026-01-02T03:04:05Z"}`)
	write("half-copied/.populating", "")
	write("half-copied/_data/etc/conf", "part")
	write(".removed-old-0123456789abcdef/_data/big", "x")
	write("foreign/_data/precious", "x")
	write("bad-record/volume.json", "not JSON")
	write("bad-record/_data/precious", "x")
	hex := strings.Repeat("ab", 32)
	mk(hex + "/_data")
	w.open(t)
	w.Close()
	if got, want := w.names(t, nil), []string{hex, "bad-record", "foreign", "half-copied", "no-data"}; !slices.Equal(got, want) {
		t.Errorf("volumes %v; want %v", got, want)
	}
	for path, want := range map[string]bool{
		"no-record": false, "torn-record": false, "no-data/_data": true, "half-copied/_data": true,
		"half-copied/_data/etc": false, "half-copied/.populating": false, ".removed-old-0123456789abcdef": false,
		"foreign/_data/precious": true, "bad-record/_data/precious": true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, path)); (err == nil) != want {
			t.Errorf("%s exists: %v; want %v", path, err == nil, want)
		}
	}
	if v, err := w.Inspect(t.Context(), hex); err != nil || !(record{Labels: v.Labels}).anonymous() {
		t.Errorf("adopted anonymous volume: %+v, %v", v, err)
	}
	if ref, err := w.Ensure(t.Context(), "half-copied", "", nil, nil); err != nil || !ref.Fresh {
		t.Errorf("half-copied volume: %+v, %v; want fresh", ref, err)
	}
}

// TestConcurrent: creations and removals of one name by many, each of whom sees
// a whole volume or none.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				if _, err := w.Ensure(context.Background(), "shared", "", nil, nil); err != nil {
					t.Error(err)
				}
				if _, err := w.List(context.Background(), engine.Filters{"dangling": {"true"}}); err != nil {
					t.Error(err)
				}
				if err := w.Remove(context.Background(), "shared", true); err != nil {
					t.Error(err)
				}
				if _, err := w.Ensure(context.Background(), "", "", nil, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := w.Prune(t.Context(), engine.Filters{"all": {"1"}}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(w.root, "volumes"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}
