package oci

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// The contexts of a container with the categories 1 and 2.
const (
	testProcessLabel = "system_u:system_r:container_t:s0:c1,c2"
	testFileLabel    = "system_u:object_r:container_file_t:s0:c1,c2"
)

// relabel gives a file, or everything below a directory, a SELinux context.
func relabel(t testing.TB, path, label string) {
	t.Helper()
	err := filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.Lsetxattr(name, "security.selinux", []byte(label), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// labelled makes a bundle whose files a container with testProcessLabel may use,
// and the spec of one.
func labelled(t testing.TB, args ...string) (bundle string, spec *specs.Spec) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.SELinux)
	bundle, spec = newBundle(t), newSpec(args...)
	relabel(t, filepath.Join(bundle, "rootfs"), testFileLabel)
	spec.Process.SelinuxLabel, spec.Linux.MountLabel = testProcessLabel, testFileLabel
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
	)
	return bundle, spec
}

func TestSELinuxLabels(t *testing.T) {
	const script = `cat /proc/self/attr/current; echo
ls /dev /dev/pts /dev/shm /dev/mqueue /sys/firmware >/dev/null && echo x >/dev/shm/f && cat /dev/shm/f
cat /secret; cat /shared; cat /others; true`
	for _, noNewPrivs := range []bool{false, true} {
		bundle, spec := labelled(t, "sh", "-c", script)
		spec.Process.NoNewPrivileges = noNewPrivs
		for name, label := range map[string]string{
			"secret": "system_u:object_r:host_file_t:s0",
			"shared": "system_u:object_r:container_file_t:s0",
			"others": "system_u:object_r:container_file_t:s0:c1,c3",
		} {
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(name+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			relabel(t, file, label)
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/" + name, Type: "bind", Source: file, Options: []string{"bind"}})
		}
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
		const want = testProcessLabel + "\x00\nx\nshared\n"
		if err != nil || res.out != want {
			t.Errorf("no_new_privs %t: %v\n%s%s\nwant\n%s", noNewPrivs, err, res.out, res.err, want)
		}
		for _, name := range []string{"secret", "others"} {
			if !strings.Contains(res.err, "/"+name+"': Permission denied") {
				t.Errorf("no_new_privs %t: /%s can be read: %q", noNewPrivs, name, res.err)
			}
		}
	}
}

// TestSELinuxMounts: what is mounted for the container is labelled for it alone,
// also the message queues, which are older than their mount.
func TestSELinuxMounts(t *testing.T) {
	bundle, spec := labelled(t, "sleep", "1000")
	c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	root := fmt.Sprintf("/proc/%d/root", c.state.Pid)
	for _, name := range []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/firmware", "/dev/null"} {
		label := make([]byte, 100)
		n, err := unix.Getxattr(root+name, "security.selinux", label)
		if got := strings.TrimRight(string(label[:max(n, 0)]), "\x00"); err != nil || got != testFileLabel {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSELinuxExec(t *testing.T) {
	bundle, spec := labelled(t, "sleep", "1000")
	c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	const other = "system_u:system_r:other_t:s0:c1,c2"
	for _, tt := range []struct{ label, want string }{
		{"", testProcessLabel}, // the container's
		{other, other},
	} {
		p := newProcess("cat", "/proc/self/attr/current")
		p.SelinuxLabel = tt.label
		if res, err := execIn(t, c, p); err != nil || res.out != tt.want+"\x00" {
			t.Errorf("exec with label %q: %v, %q, %q", tt.label, err, res.out, res.err)
		}
	}
}

// TestSELinuxKeyring: the session keyring has the label of the container's
// processes, which could not use it otherwise.
func TestSELinuxKeyring(t *testing.T) {
	bundle, spec := labelled(t, "sleep", "1000")
	spec.Linux.MaskedPaths = nil
	c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	for range 2 { // that of init, which an exec joins
		res, err := execIn(t, c, newProcess("grep", " _ses.", "/proc/keys"))
		if err != nil {
			t.Fatal(err)
		}
		number, _, _ := strings.Cut(res.out, " ")
		id, err := strconv.ParseUint(number, 16, 32)
		if err != nil {
			t.Fatalf("keyring in %q, %q: %v", res.out, res.err, err)
		}
		if label, err := unix.KeyctlString(unix.KEYCTL_GET_SECURITY, int(id)); err != nil || label != testProcessLabel {
			t.Errorf("label of keyring %s: %q, %v", res.out, label, err)
		}
	}
}

func TestSELinuxUnknownLabel(t *testing.T) {
	bundle, spec := labelled(t, "true")
	spec.Process.SelinuxLabel = "system_u:system_r:no_such_t:s0"
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err == nil || !strings.Contains(err.Error(), "no_such_t") || !strings.Contains(err.Error(), "invalid argument") {
		t.Errorf("label that the policy does not have: %v", err)
	}
}

// TestLabelWithoutSELinux: without SELinux a label is refused, as runc does, since
// what it promises cannot be kept.
func TestLabelWithoutSELinux(t *testing.T) {
	if selinuxOn() {
		t.Skip("needs no SELinux: it is on")
	}
	spec := newSpec("true")
	spec.Process.SelinuxLabel = testProcessLabel
	_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if !errs.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "selinux label is specified in config, but selinux is disabled or not supported") {
		t.Errorf("label without SELinux: %v", err)
	}
}
