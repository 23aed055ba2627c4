package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/userns"
	"github.com/gantry-run/gantry/internal/testenv"
)

// remapped gives a spec a user namespace, and says nothing about files.
func remapped(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 200000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: 300000, Size: 65536}}
}

// layered gives a container an overlay on the bundle's files, whose ids are mapped.
// It tells where the upper directory is.
func layered(t *testing.T, o *CreateOptions, lower ...string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Overlay, testenv.Linux(5, 19, "overlays of layers with mapped ids"))
	dir := t.TempDir()
	needMapping(t, dir)
	for _, d := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower = append(lower, o.Bundle+"/rootfs")
	o.Spec.Root.Path = filepath.Join(dir, "merged")
	o.RootfsMounts = []RootfsMount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + strings.Join(lower, ":"), "upperdir=" + dir + "/upper", "workdir=" + dir + "/work", "idmap",
	}}}
	return filepath.Join(dir, "upper")
}

func ownerOf(t *testing.T, file string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{st.Uid, st.Gid}
}

// TestMappedRoot runs a container in a user namespace on layers that know nothing
// of it, and finds nothing of it in what the container has written.
func TestMappedRoot(t *testing.T) {
	onDisk(t)
	r, bundle := newRuntime(t), newBundle(t)
	owned(t, bundle+"/rootfs/etc") // files of 0:1, 5:6 and 70000:70001
	o := CreateOptions{Bundle: bundle, Spec: newSpec("sh", "-c", `cd /etc; stat -c "%n %u:%g" / zero five other
		touch new; mkdir dir; chown 7:8 new; chown 9 five; chmod 4755 new; mv zero dir; ln -s new link; rm passwd
		test -e passwd || echo gone; stat -c %u:%g new dir/zero; mknod null c 1 3`)}
	remapped(o.Spec)
	upper := layered(t, &o)
	res, err := runSpec(t, r, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/ 0:0\nzero 0:1\nfive 5:6\nother 65534:65534\ngone\n7:8\n0:1\n"; res.out != want {
		t.Errorf("got %q %q", res.out, res.err)
	}
	if !strings.Contains(res.err, "mknod: null: Operation not permitted") {
		t.Errorf("got %q", res.err)
	}
	for name, want := range map[string][2]uint32{
		"": {0, 0}, "etc": {0, 0}, "etc/new": {7, 8}, "etc/five": {9, 6}, "etc/dir": {0, 0}, "etc/dir/zero": {0, 1}, "etc/link": {0, 0},
	} {
		if got := ownerOf(t, filepath.Join(upper, name)); got != want {
			t.Errorf("%s belongs to %v", name, got)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(upper, "etc/passwd"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("no whiteout: %+v, %v", st, err)
	}
}

// TestMappedRootManyLayers has more layers than one option of fsconfig can name.
func TestMappedRootManyLayers(t *testing.T) {
	onDisk(t)
	o := CreateOptions{Bundle: newBundle(t), Spec: newSpec("sh", "-c", "cat /l*; stat -c %u:%g /l0")}
	remapped(o.Spec)
	var lower []string
	for i := range 40 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "l"+string(rune('0'+i))), []byte{'x'}, 0o644); err != nil {
			t.Fatal(err)
		}
		lower = append(lower, dir)
	}
	layered(t, &o, lower...)
	res, err := runSpec(t, newRuntime(t), o)
	if want := strings.Repeat("x", 40) + "0:0\n"; err != nil || res.out != want {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestMappedFileCapabilities: those of an image's files hold in the user namespace,
// and those that are set in it are on disk as without one.
func TestMappedFileCapabilities(t *testing.T) {
	onDisk(t)
	const ep = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw+ep, VFS_CAP_REVISION_2
	bundle := newBundle(t)
	raw := filepath.Join(bundle, "rootfs/home/grep")
	data, err := os.ReadFile(filepath.Join(bundle, "rootfs/bin/busybox"))
	if err == nil {
		err = os.WriteFile(raw, data, 0o755)
	}
	if err == nil {
		err = unix.Setxattr(raw, "security.capability", []byte(ep), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	spec := newSpec("/home/grep", "CapEff", "/proc/self/status")
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	o := CreateOptions{Bundle: bundle, Spec: spec}
	remapped(spec)
	layered(t, &o)
	res, err := runSpec(t, newRuntime(t), o)
	if f := strings.Fields(res.out); err != nil || len(f) != 2 || f[1] != "0000000000002000" {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestMappedOverlayMount has an overlay of mapped layers among the mounts, and a
// part of one.
func TestMappedOverlayMount(t *testing.T) {
	onDisk(t)
	o := CreateOptions{Bundle: newBundle(t), Spec: newSpec("sh", "-c", `stat -c "%n %u:%g" /img/five /part/five; touch /img/x`)}
	remapped(o.Spec)
	dir, empty := t.TempDir(), t.TempDir()
	owned(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	owned(t, filepath.Join(dir, "sub"))
	options := []string{"lowerdir=" + dir + ":" + empty, "ro", "idmap"}
	withMounts(o.Spec,
		specs.Mount{Destination: "/img", Type: "overlay", Source: "overlay", Options: options},
		specs.Mount{Destination: "/part", Type: "overlay", Source: "overlay", Options: append(options[:len(options):len(options)], "x-gantry.subpath=sub")})
	layered(t, &o)
	res, err := runSpec(t, newRuntime(t), o)
	if err != nil || res.out != "/img/five 5:6\n/part/five 5:6\n" || !strings.Contains(res.err, "/img/x: Read-only file system") {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestNetnsOfUserNamespace joins the user namespace that a prepared network
// namespace belongs to, and has its capabilities there.
func TestNetnsOfUserNamespace(t *testing.T) {
	onDisk(t)
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.NetNS)
	o := CreateOptions{Bundle: newBundle(t), Spec: newSpec("sh", "-c", "ip link set lo up && cat /sys/class/net/lo/operstate; cat /proc/self/uid_map; readlink /proc/self/ns/user")}
	remapped(o.Spec)
	caps := o.Spec.Process.Capabilities
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*set = append(*set, "CAP_NET_ADMIN")
	}
	layered(t, &o)
	netns, err := userns.NewWithNet(idMap(o.Spec.Linux.UIDMappings), idMap(o.Spec.Linux.GIDMappings))
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Close()
	owner, err := userns.Owner(netns)
	if err != nil || owner == nil {
		t.Fatalf("%v, %v", owner, err)
	}
	defer owner.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(owner.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	o.Netns = netns
	res, err := runSpec(t, newRuntime(t), o)
	f := strings.Fields(res.out)
	if err != nil || len(f) != 5 || f[0] != "unknown" || f[2] != "200000" || f[4] != fmt.Sprintf("user:[%d]", st.Ino) {
		t.Errorf("got %+v, %v", res, err)
	}
	o.Spec.Linux.UIDMappings[0].HostID = 400000
	if _, err := runSpec(t, newRuntime(t), o); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("with other mappings: got %v", err)
	}
}

// TestOwnIO lets programs open their standard streams again.
func TestOwnIO(t *testing.T) {
	onDisk(t)
	r := newRuntime(t)
	for _, uid := range []uint32{0, 1000} {
		o := CreateOptions{Bundle: newBundle(t), Spec: newSpec("sh", "-c", "echo first > /dev/stdout; exec sleep 1000"), OwnIO: true}
		o.Spec.Process.User = specs.User{UID: uid, GID: uid}
		remapped(o.Spec)
		layered(t, &o)
		s := newStreams(t, "")
		o.IO = s.io
		c := startOf(t, r, o)
		s.handed()
		e := newStreams(t, "")
		process := newProcess("sh", "-c", "echo second > /dev/stderr")
		process.User = o.Spec.Process.User
		p, err := c.Exec(t.Context(), ExecOptions{Process: process, IO: e.io, OwnIO: true})
		e.handed()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p)
		e.done()
		if got := e.err.String(); got != "second\n" {
			t.Errorf("exec of %d: got %q", uid, got)
		}
		if err := c.Signal(t.Context(), unix.SIGKILL, false); err != nil {
			t.Error(err)
		}
		s.done()
		if got := s.out.String(); got != "first\n" {
			t.Errorf("run of %d: got %q %q", uid, got, s.err.String())
		}
	}
}

// TestMappedRootErrors: what cannot be mapped is refused.
func TestMappedRootErrors(t *testing.T) {
	onDisk(t)
	for name, c := range map[string]struct {
		edit func(*CreateOptions)
		kind errs.Kind
		text string
	}{
		"no user namespace": {func(o *CreateOptions) {
			o.Spec.Linux.Namespaces = without(o.Spec, specs.UserNamespace)
			o.Spec.Linux.UIDMappings, o.Spec.Linux.GIDMappings = nil, nil
		}, errs.Unsupported, "only for a container in a user namespace"},
		"no root": {func(o *CreateOptions) { o.Spec.Linux.UIDMappings[0].ContainerID = 1 }, errs.InvalidArgument, "0 is not mapped"},
		"places": {func(o *CreateOptions) {
			o.RootfsMounts[0].Options[2] = "workdir=" + o.Bundle
		}, errs.Unsupported, "are not in one directory"},
	} {
		t.Run(name, func(t *testing.T) {
			o := CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")}
			remapped(o.Spec)
			layered(t, &o)
			c.edit(&o)
			_, err := runSpec(t, newRuntime(t), o)
			if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v (%v)", err, errs.KindOf(err))
			}
		})
	}
}
