package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestOverlayRoot lets init mount the root filesystem: the host never sees it.
func TestOverlayRoot(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Overlay)
	for name, layers := range map[string]int{"few layers": 3, "more than a page of options": 60} {
		t.Run(name, func(t *testing.T) {
			bundle := newBundle(t)
			dir := filepath.Join(bundle, strings.Repeat("d", 60))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(bundle, "rootfs"), filepath.Join(dir, "rootfs")); err != nil {
				t.Fatal(err)
			}
			var lower []string
			for i := range layers {
				l := filepath.Join(dir, fmt.Sprintf("layer%d", i))
				if err := os.MkdirAll(l, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(l, fmt.Sprintf("file%d", i)), nil, 0o644); err != nil {
					t.Fatal(err)
				}
				lower = append(lower, l)
			}
			lower = append(lower, filepath.Join(dir, "rootfs"))
			for _, d := range []string{"upper", "work", "merged"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			spec := newSpec("sh", "-c", "ls / | grep -c file; touch /written; grep -c ' / overlay' /proc/mounts")
			spec.Root.Path = filepath.Join(dir, "merged")
			res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec, RootfsMounts: []RootfsMount{{
				Type: "overlay", Source: "overlay",
				Options: []string{"index=off", "lowerdir=" + strings.Join(lower, ":"), "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"},
			}}})
			if err != nil || res.out != fmt.Sprintf("%d\n1\n", layers) {
				t.Errorf("got %+v, %v", res, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "upper/written")); err != nil {
				t.Error(err)
			}
			if entries, err := os.ReadDir(filepath.Join(dir, "merged")); err != nil || len(entries) > 0 {
				t.Errorf("the host sees the mount: %v, %v", entries, err)
			}
		})
	}
}

func TestBindRoot(t *testing.T) {
	bundle := newBundle(t)
	spec := newSpec("sh", "-c", "hostname; touch /x")
	spec.Root.Path = t.TempDir()
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec, RootfsMounts: []RootfsMount{{
		Type: "bind", Source: filepath.Join(bundle, "rootfs"), Options: []string{"rbind", "ro"},
	}}})
	// Mount points exist in the image; a read-only root needs no more.
	if err != nil || res.out != "testhost\n" || !strings.Contains(res.err, "Read-only") {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestBindMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bind := func(to string, options ...string) specs.Mount {
		return specs.Mount{Destination: to, Type: "bind", Source: dir, Options: append([]string{"rbind"}, options...)}
	}
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: withMounts(
		newSpec("sh", "-c", `cat /rw/file /ro/file /one; touch /rw/new; touch /ro/new; echo x > /one; cp /bin/busybox /noexec 2>/dev/null
			grep -E ' /(rw|ro|noexec|rro) ' /proc/mounts | while read a b c d e; do echo $b $d; done`),
		bind("/rw"), bind("/ro", "ro"), bind("/noexec", "nosuid", "noexec", "nodev", "noatime"), bind("/rro", "rro"),
		specs.Mount{Destination: "/one", Type: "bind", Source: filepath.Join(dir, "file"), Options: []string{"bind", "ro"}})})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"host\nhost\nhost\n/rw rw,relatime", "/ro ro,relatime", "/noexec rw,nosuid,nodev,noexec,noatime", "/rro ro,relatime"} {
		if !strings.Contains(res.out, want) {
			t.Errorf("%q is missing in %q", want, res.out)
		}
	}
	if strings.Count(res.err, "Read-only file system") != 2 {
		t.Errorf("got %q", res.err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	_, err = runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: withMounts(newSpec("true"),
		specs.Mount{Destination: "/etc/passwd", Type: "bind", Source: dir, Options: []string{"bind"}})})
	if err == nil || !strings.Contains(err.Error(), `error mounting "`+dir+`" to rootfs at "/etc/passwd": not a directory`) {
		t.Errorf("directory on a file: got %v", err)
	}
}

// Of a bind mount's directory and of a new filesystem a part can be mounted, and
// nothing else that a link in it names.
func TestSubpath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lower/sub/deep", "top/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"lower/sub/file": "lower\n", "top/sub/other": "top\n", "lower/secret": "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"in": "sub", "abs": "/etc", "up": "../../../../../etc", "proc": "/proc/1/root"} {
		if err := os.Symlink(to, filepath.Join(dir, "lower", link)); err != nil {
			t.Fatal(err)
		}
	}
	part := func(kind, to, name string) specs.Mount {
		m := specs.Mount{Destination: to, Type: kind, Source: filepath.Join(dir, "lower"), Options: []string{"rbind", "ro", "x-gantry.subpath=" + name}}
		if kind == "overlay" {
			m.Source, m.Options = "overlay", []string{"lowerdir=" + dir + "/top:" + dir + "/lower", "ro", "x-gantry.subpath=" + name}
		}
		return m
	}
	for kind, want := range map[string]string{"bind": "deep file\n", "overlay": "deep file other\n"} {
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: withMounts(
			newSpec("sh", "-c", `ls /dir | xargs; cat /new/file; ls /link; touch /dir/x; find / -xdev -name secret; grep -c ' / overlay' /proc/mounts`),
			part(kind, "/dir", "sub"), part(kind, "/new/file", "in/file"), part(kind, "/link", "in/deep/.."))})
		if err != nil || !strings.HasPrefix(res.out, want+"lower\n") || !strings.HasSuffix(res.out, "\n0\n") || strings.Contains(res.out, "secret") || !strings.Contains(res.err, "Read-only") {
			t.Errorf("%s: got %+v, %v", kind, res, err)
		}
		for name, text := range map[string]string{"none": "no such file", "abs": "cross-device", "up": "cross-device", "proc": "cross-device", "..": "cross-device", "in/file/x": "not a directory"} {
			_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: withMounts(newSpec("true"), part(kind, "/dir", name))})
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s of %s: got %v, want %s", name, kind, err, text)
			}
		}
	}
}

// The source of a bind mount may be another container's, as only that one sees it.
func TestMountFromNamespace(t *testing.T) {
	donor := background(t, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs"})
	})
	if res, err := execIn(t, donor, newProcess("sh", "-c", "echo theirs > /data/file; ln -s /proc/1/root /data/link")); err != nil || res.code != 0 {
		t.Fatalf("got %+v, %v", res, err)
	}
	from := func(source, file string) (result, error) {
		return runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: withMounts(newSpec("sh", "-c", "cat /there/file; echo > /there/new"),
			specs.Mount{Destination: "/there", Type: "bind", Source: source, Options: []string{"bind", "ro", "x-gantry.mntns=" + file}})})
	}
	file := fmt.Sprintf("/proc/%d/ns/mnt", donor.Pid())
	if res, err := from("/data", file); err != nil || res.out != "theirs\n" || !strings.Contains(res.err, "Read-only") {
		t.Errorf("got %+v, %v", res, err)
	}
	for _, tc := range [][3]string{{"/data", "/proc/self/ns/net", "join mount namespace"}, {"/data", "/no/such/file", "no such file"}, {"/no/such", file, "no such file"}} {
		if _, err := from(tc[0], tc[1]); err == nil || !strings.Contains(err.Error(), tc[2]) {
			t.Errorf("%q: got %v", tc, err)
		}
	}
}

func TestCgroupMount(t *testing.T) {
	for _, private := range []bool{true, false} {
		spec := newSpec("sh", "-c", "ls -d /sys/fs/cgroup/memory /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l; cat /sys/fs/cgroup/memory/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | grep -c '^1$'; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x")
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}})
		if !private {
			spec.Linux.Namespaces = without(spec, specs.CgroupNamespace)
		}
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err != nil || res.out != "1\n1\n" || !strings.Contains(res.err, "Read-only file system") {
			t.Errorf("private %v: got %+v, %v", private, res, err)
		}
	}
}

func TestHostIsNotReached(t *testing.T) {
	// Nothing of the host's tree is left in the mount table, and mounts made
	// inside do not appear outside: the mount gate of the package checks that.
	res := run(t, "mount -t tmpfs inner /tmp; wc -l < /proc/self/mountinfo; ls /.. | wc -l; ls / | wc -l", func(s *specs.Spec) {
		c := s.Process.Capabilities
		for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
			*set = append(*set, "CAP_SYS_ADMIN")
		}
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	})
	if res.out != "6\n8\n8\n" {
		t.Errorf("got %+v", res)
	}
}

func TestSettings(t *testing.T) {
	res := run(t, "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/lo/rp_filter", func(s *specs.Spec) {
		s.Domainname = "example.org"
		s.Linux.Sysctl = map[string]string{"kernel.msgmax": "4242", "net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/rp_filter": "2"}
	})
	if res.out != "testhost\nexample.org\n4242\n1\n2\n" {
		t.Errorf("got %+v", res)
	}
}

func TestRlimits(t *testing.T) {
	limits := func(exact bool) (result, error) {
		spec := newSpec("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")
		spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 123, Hard: 1 << 30}, {Type: "RLIMIT_CORE"}}
		if exact {
			spec.Annotations = map[string]string{"run.gantry.exact-limits": "true"}
		}
		return runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
	}
	res, err := limits(false)
	lines := strings.Fields(res.out)
	if err != nil || len(lines) != 3 || lines[0] != "123" || lines[2] != "0" {
		t.Errorf("got %+v, %v", res, err)
	}
	// More than fs.nr_open is refused to everybody.
	if _, err := limits(true); err == nil || !strings.Contains(err.Error(), "error setting rlimit type 7") {
		t.Errorf("exact: got %v", err)
	}
}

func TestJoinNamespaces(t *testing.T) {
	c := background(t, nil)
	path := func(kind string) string { return fmt.Sprintf("/proc/%d/ns/%s", c.Pid(), kind) }
	ours := "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname"
	want, err := execIn(t, c, newProcess("sh", "-c", ours))
	if err != nil {
		t.Fatal(err)
	}
	res := run(t, ours, func(s *specs.Spec) {
		s.Hostname = ""
		for i := range s.Linux.Namespaces {
			n := &s.Linux.Namespaces[i]
			if file, ok := map[specs.LinuxNamespaceType]string{"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}[n.Type]; ok {
				n.Path = path(file)
			}
		}
	})
	if res.out != want.out {
		t.Errorf("got %q, want %q", res.out, want.out)
	}
	netns, err := os.Open(path("net"))
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Close() //nolint:errcheck // a handle
	got, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: newSpec("readlink", "/proc/self/ns/net"), Netns: netns})
	if err != nil || !strings.HasPrefix(want.out, got.out) {
		t.Errorf("given namespace: got %+v, %v", got, err)
	}
}

// TestRefusedRootLeavesNothingOpen mounts a file as the root filesystem: the mount
// can be made, but nothing can become of it.
func TestRefusedRootLeavesNothingOpen(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	testenv.CheckLeaks(t, testenv.FDs)
	o := CreateOptions{Bundle: bundle, Spec: newSpec("true")}
	o.RootfsMounts = []RootfsMount{{Type: "bind", Source: filepath.Join(bundle, "rootfs/etc/passwd"), Options: []string{"bind"}}}
	if _, err := runSpec(t, r, o); err == nil || !strings.Contains(err.Error(), "mount root filesystem") {
		t.Errorf("got %v", err)
	}
}

// TestTmpfsMode: a tmpfs has the mode of the directory that it covers, unless it has
// one of its own.
func TestTmpfsMode(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	if err := os.Mkdir(filepath.Join(bundle, "rootfs/private"), 0o710); err != nil {
		t.Fatal(err)
	}
	spec := withMounts(newSpec("stat", "-c", "%a", "/private", "/new"),
		specs.Mount{Destination: "/private", Type: "tmpfs", Source: "tmpfs"}, specs.Mount{Destination: "/new", Type: "tmpfs", Source: "tmpfs"})
	if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err != nil || res.out != "710\n1777\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	spec.Mounts[len(spec.Mounts)-2].Options = []string{"mode=1500"}
	if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err != nil || res.out != "1500\n755\n" /* the first made it */ {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestNoPivotHidesKernel: where the old root stays, procfs must not: the kernel would
// let the root of a user namespace mount it anew, without what masks it.
func TestNoPivotHidesKernel(t *testing.T) {
	spec := newSpec("busybox", "unshare", "-mrpf", "sh", "-c", "busybox mount -t proc none /proc && echo mounted")
	caps := &spec.Process.Capabilities
	(*caps).Bounding, (*caps).Permitted = append((*caps).Bounding, "CAP_SETFCAP"), append((*caps).Permitted, "CAP_SETFCAP")
	for _, noPivot := range []bool{false, true} {
		if res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec, NoPivot: noPivot}); err != nil || res.out != "" || !strings.Contains(res.err, "permission denied") {
			t.Errorf("no pivot %v: got %+v, %v", noPivot, res, err)
		}
	}
}

// TestWrongGround: what is wrong with a filter is not said to be the fault of the
// mount that needs the cgroup, which is made together with it.
func TestWrongGround(t *testing.T) {
	testenv.Need(t, testenv.Root)
	spec := newSpec("true")
	spec.Linux.Namespaces = without(spec, specs.CgroupNamespace)
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_NOPE"}
	_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err == nil || strings.Contains(err.Error(), "mount") || !strings.Contains(err.Error(), "SCMP_ACT_NOPE") {
		t.Errorf("got %v", err)
	}
}
