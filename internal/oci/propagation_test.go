package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// sharedMount makes a mount whose changes reach all its copies.
func sharedMount(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	if err := unix.Mount("shared", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestMountsStayInside: what is mounted in a container, by one who may, does not
// appear on the machine, but what is mounted there does in the container.
func TestMountsStayInside(t *testing.T) {
	for name, user := range map[string]bool{"root": false, "user namespace": true} {
		t.Run(name, func(t *testing.T) {
			dir, bundle := sharedMount(t), newBundle(t)
			spec := newSpec("sleep", "1000")
			if user {
				mapped(t, bundle)(spec)
			}
			c := spec.Process.Capabilities
			for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
				*set = append(*set, "CAP_SYS_ADMIN")
			}
			withMounts(spec, specs.Mount{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind"}})
			inside := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
			process := newProcess("sh", "-c", "mount -t tmpfs inner /vol/in && touch /vol/in/file && ls /vol/in")
			process.Capabilities = c
			res, err := execIn(t, inside, process)
			if err != nil || res.out != "file\n" {
				t.Errorf("mount inside: got %+v, %v", res, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "in/file")); err == nil {
				t.Error("the machine sees the container's mount")
			}
			if err := unix.Mount("outer", filepath.Join(dir, "out"), "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			res, err = execIn(t, inside, newProcess("grep", "-c", "^outer /vol/out ", "/proc/mounts"))
			if err != nil || strings.TrimSpace(res.out) != "1" {
				t.Errorf("mount outside: got %+v, %v", res, err)
			}
		})
	}
}
