package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// mapped gives a spec a user namespace in which root is an ordinary user outside.
func mapped(t *testing.T, bundle string) func(*specs.Spec) {
	testenv.Need(t, testenv.Root, testenv.UserNS)
	const host = 200000
	err := filepath.Walk(filepath.Join(bundle, "rootfs"), func(p string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(p, host, host)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: host, Size: 65536}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}
}

func TestUserNamespace(t *testing.T) {
	r, bundle, dir := newRuntime(t), newBundle(t), t.TempDir()
	if err := os.Chmod(filepath.Dir(bundle), 0o700); err != nil { // the mapped root may not look in here
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("bound\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := withMounts(newSpec("sh", "-c", `id -u; cat /proc/self/uid_map; cat /vol/file; touch /vol/x; touch /tmp/x; stat -c %u /tmp/x
		head -c 2 /dev/zero | wc -c; echo x > /dev/null && echo null; hostname; mount -t tmpfs x /tmp; cat /proc/keys | wc -c`),
		specs.Mount{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}})
	mapped(t, bundle)(spec)
	res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Join(strings.Fields(res.out), " ")
	if out != "0 0 200000 65536 bound 0 2 null testhost 0" {
		t.Errorf("got %q %q", out, res.err)
	}
	if !strings.Contains(res.err, "/vol/x: Read-only file system") || !strings.Contains(res.err, "permission denied") {
		t.Errorf("got %q", res.err)
	}
	st, err := os.Stat(filepath.Join(bundle, "rootfs/tmp/x"))
	if err != nil || st.Size() != 0 {
		t.Error(err)
	}
}

// TestUserNamespaceExecShared: an exec that has entered a user namespace has no right to
// join namespaces of the machine's any more, and need not.
func TestUserNamespaceExecShared(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("sleep", "1000")
	mapped(t, bundle)(spec)
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.CgroupNamespace || n.Type == specs.IPCNamespace
	})
	c := startOf(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	res, err := execIn(t, c, newProcess("sh", "-c", `id -u; for n in cgroup ipc mnt net pid user uts; do
		test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo different $n; done`))
	if err != nil || res.out != "0\n" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestUserNamespaceExec(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("sleep", "1000")
	mapped(t, bundle)(spec)
	c, p, err := r.Run(t.Context(), "mapped", CreateOptions{Bundle: bundle, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Delete(t.Context(), true); err != nil {
			t.Error(err)
		}
		wait(t, p)
	}()
	res, err := execIn(t, c, newProcess("sh", "-c", `id -u; for n in cgroup ipc mnt net pid user uts; do
		test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo different $n; done; exit 6`))
	if err != nil || res.out != "0\n" || res.code != 6 {
		t.Errorf("got %+v, %v", res, err)
	}
	process := newProcess("sh", "-c", "id -u; "+status+"; ls -l /proc/self/fd | grep -c /proc/self/exe")
	process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{10}}
	if res, err = execIn(t, c, process); err != nil {
		t.Fatal(err)
	}
	require(t, fields(res.out), "Uid", "1000 1000 1000 1000", "Groups", "10", "CapEff", none, "CapBnd", testCaps)
	process = newProcess("sh", "-c", "tty; exit 8")
	process.Terminal = true
	proc, err := c.Exec(t.Context(), ExecOptions{Process: process})
	if err != nil {
		t.Fatal(err)
	}
	if out, code := readConsole(t, proc); out != "/dev/pts/0\n" || code != 8 {
		t.Errorf("terminal: got %q %d", out, code)
	}
	spec = newSpec("sleep", "1000")
	mapped(t, bundle)(spec)
	spec.Linux.Namespaces = without(spec, specs.CgroupNamespace)
	other := startOf(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	if res, err := execIn(t, other, newProcess("sh", "-c", "exit 7")); err != nil || res.code != 7 {
		t.Errorf("in the machine's cgroup namespace: got %+v, %v", res, err)
	}
	if _, err := execIn(t, c, newProcess("nope")); err == nil || err.Error() != `exec: "nope": executable file not found in $PATH` {
		t.Errorf("got %v", err)
	}
}

// TestUserNamespaceLimits raises a hard limit, which only the machine's root may do.
func TestUserNamespaceLimits(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.SysResource)
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("sh", "-c", "ulimit -n; ulimit -Hn")
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: have.Max + 10}}
	mapped(t, bundle)(spec)
	res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	if want := fmt.Sprintf("100\n%d\n", have.Max+10); err != nil || res.out != want {
		t.Errorf("got %+v, %v, want %q", res, err, want)
	}
}

func TestUserNamespaceOverlay(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Overlay)
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("sh", "-c", "touch /x; grep -c ' / overlay' /proc/mounts")
	mapped(t, bundle)(spec)
	dir := t.TempDir()
	for _, d := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, d), 200000, 200000); err != nil {
			t.Fatal(err)
		}
	}
	spec.Root.Path = filepath.Join(dir, "merged")
	res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec, RootfsMounts: []RootfsMount{{
		Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + bundle + "/rootfs", "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"},
	}}})
	if err != nil || res.out != "1\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "upper/x")); err != nil {
		t.Error(err)
	}
}

func TestTimeNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/proc/self/timens_offsets"))
	r := newRuntime(t)
	spec := newSpec("sh", "-c", "head -n 1 /proc/uptime; touch /written; sleep 1000")
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000000}}
	s := newStreams(t, "")
	bundle := newBundle(t)
	c, p, err := r.Run(t.Context(), "time", CreateOptions{Bundle: bundle, Spec: spec, IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "output", func() bool { _, err := os.Stat(filepath.Join(bundle, "rootfs/written")); return err == nil })
	res, err := execIn(t, c, newProcess("sh", "-c", "cat /proc/uptime; readlink /proc/self/ns/time; readlink /proc/1/ns/time"))
	if err != nil || !strings.HasPrefix(res.out, "1000") {
		t.Errorf("exec: got %+v, %v", res, err)
	}
	if lines := strings.Split(res.out, "\n"); len(lines) < 3 || lines[1] != lines[2] {
		t.Errorf("exec is in another time namespace: %q", res.out)
	}
	if err := c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
	wait(t, p)
	s.done()
	if !strings.HasPrefix(s.out.String(), "1000") {
		t.Errorf("run: got %q", s.out.String())
	}
}
