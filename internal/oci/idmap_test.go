package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// owned makes a directory with files of the users 0, 5 and 70000.
func owned(t *testing.T, dir string) string {
	t.Helper()
	for name, uid := range map[string]int{"zero": 0, "five": 5, "other": 70000} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, uid, uid+1); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// owners is what a container sees of such a directory, and a file that it makes.
const owners = `cd /vol; stat -c "%n %u:%g" zero five other; touch new`

func uidOf(t *testing.T, file string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

// mountOn mounts a filesystem for the time of the test.
func mountOn(t *testing.T, dir, kind, data string) string {
	t.Helper()
	if err := unix.Mount(kind, dir, kind, 0, data); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// mappedTmpfs is what the temporary directory needs where it is a tmpfs.
var mappedTmpfs = testenv.Linux(6, 3, "mapped ids of tmpfs")

// onDisk makes temporary directories of the test ones whose ids can be mapped, on a
// machine that has a disk for it: that of scripts/test-vm.
func onDisk(t *testing.T) {
	t.Helper()
	const disk = "/disk"
	var temp, other unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &temp); err != nil {
		t.Fatal(err)
	}
	if unix.Statfs(disk, &other) == nil && temp.Type == unix.TMPFS_MAGIC && other.Type == unix.EXT4_SUPER_MAGIC {
		t.Setenv("TMPDIR", disk)
	}
}

// needMapping skips where a directory's filesystem cannot have mapped ids.
func needMapping(t *testing.T, dir string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type == unix.TMPFS_MAGIC {
		testenv.Need(t, mappedTmpfs)
	}
}

// TestMappedMount shows files with other owners, on the
// filesystem of the temporary directory (ext4, say) and on a tmpfs.
func TestMappedMount(t *testing.T) {
	onDisk(t)
	r := newRuntime(t)
	for name, dir := range map[string]func() string{
		"disk":  t.TempDir,
		"tmpfs": func() string { return mountOn(t, t.TempDir(), "tmpfs", "") },
	} {
		for birth, edit := range map[string]func(*specs.Spec){"thread": func(*specs.Spec) {}, "process": withHook} {
			t.Run(name+" "+birth, func(t *testing.T) {
				source := owned(t, dir())
				needMapping(t, source)
				spec := withMounts(newSpec("sh", "-c", owners), specs.Mount{
					Destination: "/vol", Type: "bind", Source: source, Options: []string{"bind", "idmap"},
					UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}},
					GIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 2000, Size: 10}},
				})
				edit(spec)
				spec.Process.User = specs.User{UID: 1003, GID: 2004}
				if err := os.Chmod(source, 0o777); err != nil {
					t.Fatal(err)
				}
				res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
				if err != nil || res.out != "zero 1000:2001\nfive 1005:2006\nother 65534:65534\n" || res.err != "" {
					t.Errorf("got %+v, %v", res, err)
				}
				if uid := uidOf(t, filepath.Join(source, "new")); uid != 3 {
					t.Errorf("the new file belongs to %d", uid)
				}
			})
		}
	}
}

// TestMappedMountOfUserNamespace maps to the container's own users, without saying
// so, for a new user namespace and one that is joined.
func TestMappedMountOfUserNamespace(t *testing.T) {
	onDisk(t)
	bundle := newBundle(t)
	edit := mapped(t, bundle)
	r := newRuntime(t)
	pod := newSpec("sleep", "1000")
	edit(pod)
	other := startOf(t, r, CreateOptions{Bundle: bundle, Spec: pod})
	for name, enter := range map[string]func(*specs.Spec){
		"new": edit, "joined": func(s *specs.Spec) { joining(s, other, "user") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := owned(t, t.TempDir())
			needMapping(t, dir)
			spec := withMounts(newSpec("sh", "-c", owners), specs.Mount{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"bind", "idmap"}})
			enter(spec)
			res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
			if err != nil || res.out != "zero 0:1\nfive 5:6\nother 65534:65534\n" {
				t.Errorf("got %+v, %v", res, err)
			}
			if uid := uidOf(t, filepath.Join(dir, "new")); uid != 0 {
				t.Errorf("the new file belongs to %d", uid)
			}
		})
	}
}

// TestMappedMountTree maps what is mounted below as well, with ridmap only.
func TestMappedMountTree(t *testing.T) {
	testenv.Need(t, testenv.Root, mappedTmpfs) // one is below
	r := newRuntime(t)
	dir := owned(t, t.TempDir())
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	owned(t, mountOn(t, below, "tmpfs", ""))
	for option, want := range map[string]string{"idmap": "1005:1006\n5:6\n", "ridmap": "1005:1006\n1005:1006\n"} {
		ids := []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}
		res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: withMounts(newSpec("stat", "-c", "%u:%g", "/vol/five", "/vol/below/five"),
			specs.Mount{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind", option}, UIDMappings: ids, GIDMappings: ids})})
		if err != nil || res.out != want {
			t.Errorf("%s: got %+v, %v", option, res, err)
		}
	}
}

func TestMappedMountErrors(t *testing.T) {
	r := newRuntime(t)
	ids := []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}
	for name, tc := range map[string]struct {
		mount specs.Mount
		kind  errs.Kind
		text  string
	}{
		"no mapping": {specs.Mount{Type: "bind", Source: "/tmp", Options: []string{"bind", "idmap"}}, errs.InvalidArgument, "idmap needs mappings"},
		"half of it": {specs.Mount{Type: "bind", Source: "/tmp", Options: []string{"bind", "idmap"}, UIDMappings: ids}, errs.InvalidArgument, "must be specified together"},
		"no bind":    {specs.Mount{Type: "tmpfs", Source: "tmpfs", UIDMappings: ids, GIDMappings: ids}, errs.Unsupported, "only the ids of bind mounts"},
		"procfs":     {specs.Mount{Type: "bind", Source: "/proc", Options: []string{"bind"}, UIDMappings: ids, GIDMappings: ids}, errs.Unsupported, "does not support mapped ids"},
		"twice":      {specs.Mount{Type: "bind", Source: "/tmp", Options: []string{"bind"}, UIDMappings: append(ids, ids...), GIDMappings: ids}, errs.InvalidArgument, "uidMappings [{0 1000 10} {0 1000 10}], gidMappings [{0 1000 10}]: invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "twice" {
				needMapping(t, "/tmp")
			}
			tc.mount.Destination = "/vol"
			_, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: withMounts(newSpec("true"), tc.mount)})
			if err == nil || !strings.Contains(err.Error(), tc.text) || !errs.Is(err, tc.kind) {
				t.Errorf("got %v (%v)", err, errs.KindOf(err))
			}
		})
	}
}
