package container

import (
	"os"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func none(string) ([]mountPoint, error) { return nil, errs.New(errs.NotFound, "none") }

func TestParseBind(t *testing.T) {
	for _, tc := range []struct {
		spec string
		want mountPoint
	}{
		{"/data", mountPoint{Type: mount.TypeVolume, Destination: "/data", Mode: "z", RW: true, Anonymous: true}},
		{"vol:/data", mountPoint{Type: mount.TypeVolume, Name: "vol", Destination: "/data", Mode: "z", RW: true}},
		{"vol:/data:ro,nocopy", mountPoint{Type: mount.TypeVolume, Name: "vol", Destination: "/data", Mode: "ro,nocopy", NoCopy: true}},
		{"/src:/dst/", mountPoint{Type: mount.TypeBind, Source: "/src", Destination: "/dst", RW: true, CreateSource: true}},
		{"/src:/dst:ro,rslave", mountPoint{Type: mount.TypeBind, Source: "/src", Destination: "/dst", Mode: "ro,rslave", CreateSource: true, Propagation: "rslave"}},
	} {
		got, err := parseBind(tc.spec, "")
		if err != nil {
			t.Errorf("%s: %v", tc.spec, err)
			continue
		}
		if !equalMount(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.spec, got, tc.want)
		}
	}
	for _, bad := range []string{"", ":/x", "a:b", "/a:b", "vol:/", "/a:/b:bogus", "a:/b:ro:x", "vol:/b:rshared", "/"} {
		if m, err := parseBind(bad, ""); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: got %+v, %v, want an invalid argument", bad, m, err)
		}
	}
}

func equalMount(a, b mountPoint) bool {
	return a.Type == b.Type && a.Name == b.Name && a.Source == b.Source && a.Destination == b.Destination && a.Mode == b.Mode &&
		a.RW == b.RW && a.Anonymous == b.Anonymous && a.NoCopy == b.NoCopy && a.CreateSource == b.CreateSource && a.Propagation == b.Propagation
}

func TestPlanMounts(t *testing.T) {
	from := func(ref string) ([]mountPoint, error) {
		if ref != "other" {
			return none(ref)
		}
		return []mountPoint{
			{Type: mount.TypeVolume, Name: "shared", Destination: "/shared", RW: true, Anonymous: true},
			{Type: mount.TypeVolume, Name: "shadowed", Destination: "/own", RW: true},
			{Type: mount.TypeTmpfs, Destination: "/tmp"},
		}, nil
	}
	cfg := &container.Config{Volumes: map[string]struct{}{"/own": {}, "/anon": {}, "/shared/": {}}}
	host := &container.HostConfig{Binds: []string{"/src:/own"}, VolumesFrom: []string{"other:ro"}, Tmpfs: map[string]string{"/t": "size=1m"}}
	got, err := planMounts(cfg, host, from)
	if err != nil {
		t.Fatal(err)
	}
	var dests string
	for _, m := range got {
		dests += m.Destination + " "
	}
	if dests != "/anon /own /shared /t " {
		t.Fatalf("destinations %q", dests)
	}
	if own := got[1]; own.Type != mount.TypeBind {
		t.Errorf("-v must beat the image's volume: %+v", own)
	}
	if sh := got[2]; sh.RW || sh.Anonymous || sh.Name != "shared" {
		t.Errorf("an inherited volume is read-only here and the other container's: %+v", sh)
	}
	for name, host := range map[string]*container.HostConfig{
		"duplicate":      {Binds: []string{"/a:/x", "/b:/x"}},
		"relative":       {Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "a", Target: "/x"}}},
		"no target":      {Mounts: []mount.Mount{{Type: mount.TypeVolume}}},
		"tmpfs source":   {Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Source: "a", Target: "/x"}}},
		"unknown type":   {Mounts: []mount.Mount{{Type: "npipe", Source: "/a", Target: "/x"}}},
		"tmpfs relative": {Tmpfs: map[string]string{"x": ""}},
		"subpath up":     {Mounts: []mount.Mount{{Type: mount.TypeVolume, Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "a/../.."}}}},
		"subpath of /":   {Mounts: []mount.Mount{{Type: mount.TypeImage, Source: "a", Target: "/x", ImageOptions: &mount.ImageOptions{Subpath: "/etc"}}}},
		"from mode":      {VolumesFrom: []string{"other:bogus"}},
	} {
		if _, err := planMounts(&container.Config{}, host, from); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: got %v, want an invalid argument", name, err)
		}
	}
	if _, err := planMounts(&container.Config{}, &container.HostConfig{VolumesFrom: []string{"nobody"}}, from); !errs.Is(err, errs.NotFound) {
		t.Errorf("volumes from nobody: %v", err)
	}
}

func FuzzParseBind(f *testing.F) {
	for _, s := range []string{"/a:/b:ro", "vol:/x", ":::", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseBind(s, "")
		if err == nil && (m.Destination == "" || m.Destination[0] != '/' || m.Destination == "/") {
			t.Fatalf("%q accepted with destination %q", s, m.Destination)
		}
	})
}

func TestPlanPropagation(t *testing.T) {
	for _, tc := range []struct {
		source, asked, want string // want is empty if it is refused
	}{
		{"/src", "", "rprivate"},
		{"/src", "shared", "shared"},
		{"/", "", "rslave"},
		{"/var/lib", "", "rslave"},
		{"/var/lib/gantry", "", "rslave"},
		{"/var/lib/gantry/volumes/a", "", "rslave"},
		{"/var/lib/gantry2", "", "rprivate"},
		{"/var/lib", "rshared", "rshared"},
		{"/var/lib", "rslave", "rslave"},
		{"/var/lib", "slave", ""},
		{"/", "rprivate", ""},
	} {
		ms := []mountPoint{{Type: mount.TypeBind, Source: tc.source, Propagation: mount.Propagation(tc.asked)}, {Type: mount.TypeVolume, Source: tc.source}}
		err := planPropagation(ms, "/var/lib/gantry")
		switch {
		case tc.want == "" && !errs.Is(err, errs.InvalidArgument):
			t.Errorf("%s %s: %v, want an invalid argument", tc.source, tc.asked, err)
		case tc.want != "" && (err != nil || string(ms[0].Propagation) != tc.want || ms[1].Propagation != ""):
			t.Errorf("%s %s: %q, %q, %v, want %q", tc.source, tc.asked, ms[0].Propagation, ms[1].Propagation, err, tc.want)
		}
	}
}

func TestMountOf(t *testing.T) {
	host := []*mountinfo.Info{{Mountpoint: "/", Optional: "first"}, {Mountpoint: "/a"}, {Mountpoint: "/a/b"}, {Mountpoint: "/a", Optional: "over"}}
	for path, want := range map[string]*mountinfo.Info{"/x": host[0], "/a": host[3], "/ab": host[0], "/a/c": host[3], "/a/b/c": host[2]} {
		if got := mountOf(path, host); got != want {
			t.Errorf("%s is on %+v, want %+v", path, got, want)
		}
	}
}

// TestSourcesOfMappedRoot: what -v makes belongs to root of the container, and what
// is there already to whom it did.
func TestSourcesOfMappedRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s, _ := newService(t, &fakeSupervisor{}, func(*record) {})
	dir := t.TempDir()
	if err := os.Symlink("old", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/old", 0o700); err != nil {
		t.Fatal(err)
	}
	var ms []mountPoint
	for _, source := range []string{"/old", "/a/b/c", "/a/b/d", "/link/e"} {
		ms = append(ms, mountPoint{Type: mount.TypeBind, Source: dir + source, Destination: source, CreateSource: true})
	}
	if err := s.prepareSources(ms, &testRemap); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint32{"/old": {}, "/a": {100000, 200000}, "/a/b": {100000, 200000}, "/a/b/c": {100000, 200000}, "/a/b/d": {100000, 200000}, "/old/e": {100000, 200000}} {
		var st unix.Stat_t
		if err := unix.Lstat(dir+name, &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s belongs to %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
	ms = []mountPoint{{Type: mount.TypeBind, Source: dir + "/new/x", Destination: "/x", CreateSource: true}}
	if err := s.prepareSources(ms, nil); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/new/x", &st); err != nil || st.Uid != 0 {
		t.Errorf("without mappings it belongs to %d, %v", st.Uid, err)
	}
}
