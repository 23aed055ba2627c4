package volume

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	volumetypes "github.com/moby/moby/api/types/volume"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func mounted(t *testing.T, path string) bool {
	t.Helper()
	m, err := mountinfo.Mounted(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTmpfsVolume(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "tmp", DriverOpts: map[string]string{
		"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=750,nosuid,noexec",
	}})
	if mounted(t, v.Mountpoint) {
		t.Error("mounted before anyone uses it")
	}
	for _, holder := range []string{"c1", "c2", "c2"} {
		path, err := w.Mount(t.Context(), "tmp", holder)
		if err != nil || path != v.Mountpoint {
			t.Fatal(path, err)
		}
	}
	st := stat(t, v.Mountpoint)
	var fs unix.Statfs_t
	must(t, unix.Statfs(v.Mountpoint, &fs))
	if st.Uid != 1000 || st.Mode&0o7777 != 0o750 || fs.Blocks*uint64(fs.Bsize) != 1<<20 || fs.Flags&unix.ST_NOEXEC == 0 || fs.Flags&unix.ST_NOSUID == 0 {
		t.Errorf("%+v\n%+v", st, fs)
	}
	if err := w.Remove(t.Context(), "tmp", true); !errs.Is(err, errs.Conflict) || err.Error() != "remove tmp: volume is in use - [c1, c2]" {
		t.Errorf("remove while mounted: %v", err)
	}
	must(t, w.Unmount(t.Context(), "tmp", "c1"))
	must(t, w.Unmount(t.Context(), "tmp", "c1"))
	if !mounted(t, v.Mountpoint) {
		t.Error("unmounted under the second holder")
	}
	must(t, w.Unmount(t.Context(), "tmp", "c2"))
	if mounted(t, v.Mountpoint) {
		t.Error("still mounted")
	}
	must(t, w.Remove(t.Context(), "tmp", false))
}

func TestBindVolume(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "f"), []byte("host"), 0o600))
	v := w.create(t, volumetypes.CreateRequest{Name: "bind", DriverOpts: map[string]string{"type": "none", "device": host, "o": "bind,ro"}})
	_, err := w.Mount(t.Context(), "bind", "c1")
	must(t, err)
	if b, err := os.ReadFile(filepath.Join(v.Mountpoint, "f")); string(b) != "host" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(v.Mountpoint, "g"), nil, 0o600); err == nil {
		t.Error("ro is not in force")
	}
	must(t, w.Unmount(t.Context(), "bind", "c1"))
	must(t, w.Remove(t.Context(), "bind", false))
	if _, err := os.Stat(filepath.Join(host, "f")); err != nil {
		t.Errorf("removing the volume removed the host's file: %v", err)
	}
}

func TestMountFailure(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	v := w.create(t, volumetypes.CreateRequest{Name: "bad", DriverOpts: map[string]string{
		"type": "none", "device": "/does/not/exist", "o": "bind,password=s3cret",
	}})
	_, err := w.Mount(t.Context(), "bad", "c1")
	if !errs.Is(err, errs.Internal) || !strings.HasPrefix(err.Error(), "error while mounting volume '"+v.Mountpoint+"': failed to mount local volume: mount /does/not/exist:") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "password=********") {
		t.Errorf("password in %v", err)
	}
	must(t, w.Remove(t.Context(), "bad", false))
}

// TestRestoreMounts: a new daemon keeps what live containers use and unmounts
// the rest.
func TestRestoreMounts(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	opts := map[string]string{"type": "tmpfs", "device": "tmpfs"}
	kept := w.create(t, volumetypes.CreateRequest{Name: "kept", DriverOpts: opts})
	left := w.create(t, volumetypes.CreateRequest{Name: "left", DriverOpts: opts})
	for _, name := range []string{"kept", "left"} {
		_, err := w.Mount(t.Context(), name, "c1")
		must(t, err)
	}
	must(t, os.WriteFile(filepath.Join(kept.Mountpoint, "f"), nil, 0o600))
	w.open(t)
	must(t, w.Restore(t.Context(), map[string][]string{"kept": {"c1"}, "unknown": {"c2"}}))
	if !mounted(t, kept.Mountpoint) || mounted(t, left.Mountpoint) {
		t.Error("wrong volumes are mounted")
	}
	_, err := w.Mount(t.Context(), "kept", "c3")
	must(t, err)
	if _, err := os.Stat(filepath.Join(kept.Mountpoint, "f")); err != nil {
		t.Errorf("mounted a second time over the first: %v", err)
	}
	must(t, w.Unmount(t.Context(), "kept", "c1"))
	must(t, w.Unmount(t.Context(), "kept", "c3"))
	if mounted(t, kept.Mountpoint) {
		t.Error("still mounted")
	}
}

// TestCopyUpIntoMount: the content goes where the options say, not under it.
func TestCopyUpIntoMount(t *testing.T) {
	testenv.Need(t, testenv.Root)
	w := newWorld(t)
	root := image(t)
	host := t.TempDir()
	opts := map[string]string{"type": "none", "device": host, "o": "bind"}
	ref, err := w.Ensure(t.Context(), "bind", "", nil, opts)
	if err != nil || !ref.Fresh {
		t.Fatalf("%+v, %v", ref, err)
	}
	must(t, w.CopyUp(t.Context(), int(root.Fd()), "/srv/data", ref.Path))
	if _, err := os.Stat(filepath.Join(host, "plain")); err != nil {
		t.Error(err)
	}
	if empty, err := isEmpty(ref.Path); !empty || mounted(t, ref.Path) {
		t.Errorf("left mounted, or content under the mount (%v)", err)
	}
	if ref, err := w.Ensure(t.Context(), "tmp", "", nil, map[string]string{"type": "tmpfs", "device": "tmpfs"}); err != nil || ref.Fresh {
		t.Errorf("tmpfs: %+v, %v; want not fresh", ref, err)
	}
}

func TestResolveNames(t *testing.T) {
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "store.example" {
			t.Errorf("looked up %q", host)
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	for _, c := range []struct{ fsType, device, o, wantDevice, wantO string }{
		{"nfs", ":/export", "addr=store.example,rw", ":/export", "addr=192.0.2.7,rw"},
		{"nfs", ":/export", "addr=198.51.100.1", ":/export", "addr=198.51.100.1"},
		{"cifs", "//store.example/share dir", "username=u", "//192.0.2.7/share dir", "username=u"},
		{"cifs", "//store.example/s", "addr=store.example", "//store.example/s", "addr=192.0.2.7"},
		{"tmpfs", "tmpfs", "addr=store.example", "tmpfs", "addr=store.example"},
	} {
		v := &vol{record: record{Options: map[string]string{"type": c.fsType, "device": c.device, "o": c.o}}}
		device, o, err := v.resolve(t.Context(), lookup)
		if err != nil || device != c.wantDevice || o != c.wantO {
			t.Errorf("%+v: %q, %q, %v", c, device, o, err)
		}
	}
}
