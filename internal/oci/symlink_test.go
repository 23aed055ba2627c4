package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

func errorsJoin(errs ...error) error { return errors.Join(errs...) }

// replace puts a symlink or file in the place of a path of a bundle's root.
func replace(t *testing.T, bundle, name, link string) {
	t.Helper()
	path := filepath.Join(bundle, "rootfs", name)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, path); err != nil {
		t.Fatal(err)
	}
}

// outside is a directory of the host that attacks aim at; it must stay as it is.
func outside(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		content, rerr := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || rerr != nil || len(entries) != 1 || string(content) != "host" {
			t.Errorf("the host's directory was touched: %v, %q, %v", entries, content, errors.Join(err, rerr))
		}
	})
	return dir
}

// TestSymlinkedProc is CVE-2019-19921 and its kind: an image whose /proc or
// /sys leads elsewhere, so that masking and labels miss their aim.
func TestSymlinkedProc(t *testing.T) {
	for _, name := range []string{"proc", "sys", "dev"} {
		bundle := newBundle(t)
		replace(t, bundle, name, "/tmp")
		_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: newSpec("true")})
		if err == nil || !strings.Contains(err.Error(), "must be mounted on ordinary directory") {
			t.Errorf("/%s: got %v", name, err)
		}
	}
}

// TestMountTargetsStayInside tries mounts whose targets the image redirects to
// the host (CVE-2021-30465, CVE-2024-45310): nothing may appear there.
func TestMountTargetsStayInside(t *testing.T) {
	host := outside(t)
	up := strings.Repeat("../", 20) + host[1:]
	for _, link := range []string{host, up, host + "/new", up + "/new/deeper"} {
		bundle := newBundle(t)
		replace(t, bundle, "data", link)
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("sh", "-c", "mount | grep -c ' on "+host+"'; touch /data/x; ls /data"),
			specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs"})})
		if err != nil {
			t.Errorf("%s: %v", link, err)
		} else if res.out != "1\nx\n" {
			t.Errorf("%s: got %q %q", link, res.out, res.err)
		}
	}
	// A file target behind a dangling link, as /etc/resolv.conf often is.
	bundle := newBundle(t)
	replace(t, bundle, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
	source := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(source, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("cat", "/etc/resolv.conf"),
		specs.Mount{Destination: "/etc/resolv.conf", Type: "bind", Source: source, Options: []string{"rbind", "rprivate"}})})
	if err != nil || res.out != "nameserver 192.0.2.1\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	bundle = newBundle(t)
	replace(t, bundle, "loop", "loop")
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("true"),
		specs.Mount{Destination: "/loop", Type: "tmpfs", Source: "tmpfs"})}); err == nil {
		t.Error("a link to itself was mounted on")
	}
}

func withMounts(s *specs.Spec, mounts ...specs.Mount) *specs.Spec {
	s.Mounts = append(s.Mounts, mounts...)
	return s
}

// TestSymlinkedDevices redirects device nodes and links of /dev (which is the
// image's own here) to the host.
func TestSymlinkedDevices(t *testing.T) {
	host := outside(t)
	bundle := newBundle(t)
	spec := newSpec("sh", "-c", "stat -c '%F' /dev/null; readlink /dev/ptmx")
	spec.Mounts = append(spec.Mounts[:1], spec.Mounts[3:]...) // no tmpfs on /dev, no devpts
	replace(t, bundle, "dev/null", host+"/file")
	replace(t, bundle, "dev/ptmx", host+"/file")
	replace(t, bundle, "dev/console", host+"/file")
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	if err != nil || res.out != "character special file\npts/ptmx\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	bundle = newBundle(t)
	replace(t, bundle, "dev", host) // the whole /dev, nothing mounted on it
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err != nil {
		t.Logf("refused: %v", err)
	}
}

// TestMaskWithFakeNull is CVE-2025-31133: an image's own /dev/null must not be
// what a masked path shows.
func TestMaskWithFakeNull(t *testing.T) {
	bundle := newBundle(t)
	spec := newSpec("sh", "-c", "stat -c '%F %t:%T' /etc/secret; cat /etc/secret")
	spec.Linux.MaskedPaths = []string{"/etc/secret"}
	for name, content := range map[string]string{"etc/secret": "secret", "etc/other": "fake"} {
		if err := os.WriteFile(filepath.Join(bundle, "rootfs", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The device nodes are made over what the image has, but a bind mount can still hide them.
	spec = withMounts(spec, specs.Mount{Destination: "/dev/null", Type: "bind", Source: filepath.Join(bundle, "rootfs/etc/other"), Options: []string{"bind"}})
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	if err == nil && res.out != "character special file 1:3\n" {
		t.Errorf("got %+v", res)
	}
	if err != nil {
		t.Logf("refused: %v", err)
	}
}

// TestMaskedThroughSymlink masks what the image reaches by a link.
func TestMaskedThroughSymlink(t *testing.T) {
	host := outside(t)
	bundle := newBundle(t)
	replace(t, bundle, "masked", host)
	replace(t, bundle, "readonly", host)
	spec := newSpec("true")
	spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/masked/file", "/masked")
	spec.Linux.ReadonlyPaths = append(spec.Linux.ReadonlyPaths, "/readonly")
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err != nil {
		t.Error(err)
	}
}

// TestCopyUpDoesNotFollow fills a tmpfs from a directory with links to the host.
func TestCopyUpDoesNotFollow(t *testing.T) {
	host := outside(t)
	bundle := newBundle(t)
	replace(t, bundle, "data/link", host)
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/data/file"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bundle, "rootfs/data/sub/deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(
		newSpec("sh", "-c", "cat /data/file; readlink /data/link; stat -c %a /data/file /data/sub; touch /data/new; ls /data/link"),
		specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})})
	if err != nil || res.out != "content"+host+"\n640\n700\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	if _, err := os.Lstat(filepath.Join(bundle, "rootfs/data/new")); err == nil {
		t.Error("the write went to the image")
	}
}

// TestMountsInProc: what programs read in /proc is the kernel's, also where a link of
// the image leads there.
func TestMountsInProc(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("ours\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	over := func(to string) specs.Mount {
		return specs.Mount{Destination: to, Type: "bind", Source: text, Options: []string{"bind"}}
	}
	bundle := newBundle(t)
	replace(t, bundle, "link", "/proc")
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("cat", "/proc/uptime"), over("/proc/uptime"))})
	if err != nil || res.out != "ours\n" {
		t.Errorf("a file of lxcfs: got %+v, %v", res, err)
	}
	for _, m := range []specs.Mount{
		over("/proc/version"), over("/proc/nowhere"), over("/link/version"), over("/proc/sys/../version"),
		{Destination: "/proc/fs", Type: "tmpfs", Source: "tmpfs"}, {Destination: "/link", Type: "tmpfs", Source: "tmpfs"},
	} {
		_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("true"), over("/proc/uptime"), m)})
		if err == nil || !strings.Contains(err.Error(), "cannot be mounted because it is inside /proc") {
			t.Errorf("%s: got %v", m.Destination, err)
		}
	}
	for _, m := range []specs.Mount{{Destination: "/proc", Type: "tmpfs", Source: "tmpfs"}, {Destination: "/proc", Type: "bind", Source: "/tmp", Options: []string{"rbind"}}} {
		_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("true"), m)})
		if err == nil || !strings.Contains(err.Error(), `"/proc" cannot be mounted because it is not of type proc`) {
			t.Errorf("%s on /proc: got %v", m.Type, err)
		}
	}
}

// TestMtab: the link comes into the root file system itself, or not at all.
func TestMtab(t *testing.T) {
	testenv.Need(t, testenv.Root)
	outside := t.TempDir()
	for name, tc := range map[string]struct {
		make func(rootfs string) error
		edit func(*specs.Spec)
		want string
	}{
		"none": {want: "/proc/mounts\n"},
		"own":  {make: func(rootfs string) error { return os.Symlink("mine", filepath.Join(rootfs, "etc/mtab")) }, want: "mine\n"},
		"a link": {make: func(rootfs string) error {
			if err := os.Rename(filepath.Join(rootfs, "etc"), filepath.Join(rootfs, "real")); err != nil {
				return err
			}
			return os.Symlink("real", filepath.Join(rootfs, "etc"))
		}},
		"a mount": {edit: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "bind", Source: outside, Options: []string{"bind"}})
		}},
	} {
		bundle := newBundle(t)
		if tc.make != nil {
			if err := tc.make(filepath.Join(bundle, "rootfs")); err != nil {
				t.Fatal(err)
			}
		}
		spec := newSpec("sh", "-c", "readlink /etc/mtab; true")
		if tc.edit != nil {
			tc.edit(spec)
		}
		if res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec, Mtab: true}); err != nil || res.out != tc.want {
			t.Errorf("%s: got %+v, %v", name, res, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("the mounted directory holds %v, %v", left, err)
	}
}
