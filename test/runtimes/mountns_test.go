package runtimes

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

// inMountNamespace makes the container's mount namespace that behind a path, or
// the runtime's if there is none.
func inMountNamespace(s *specs.Spec, path string) {
	list := slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.MountNamespace })
	if path != "" {
		list = append(list, specs.LinuxNamespace{Type: specs.MountNamespace, Path: path})
	}
	s.Linux.Namespaces = list
}

// hold starts a program that keeps new namespaces, and gives its pid.
func (d *driver) hold(args ...string) int {
	d.t.Helper()
	args = append(append(append([]string(nil), d.args...), args...), "sh", "-c", "echo $$; exec sleep 1000")
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has not been waited for
		_ = cmd.Wait()         // killed
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		d.t.Fatal(err)
	}
	return cmd.Process.Pid // it has become setpriv, unshare, sh and sleep in turn
}

// mountsOf are the mounts of a process below a directory.
func mountsOf(t *testing.T, pid any, dir string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%v/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), " "+dir)
}

// TestMountNamespaces has containers without a mount namespace of their own made
// and deleted by different processes.
func TestMountNamespaces(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"), testenv.Tool("unshare"))
	d := &driver{t: t, args: []string{world.runtime, "--root", t.TempDir()}}
	holder := (&driver{t: t}).hold("unshare", "--mount")
	for name, path := range map[string]string{"none": "", "joined": fmt.Sprintf("/proc/%d/ns/mnt", holder)} {
		t.Run(name, func(t *testing.T) {
			var where any = "self"
			if path != "" {
				where = holder
			}
			b := newBundle(t)
			d.ok(``, "spec", "--bundle", b.path)
			b.configure(func(s *specs.Spec) { inMountNamespace(s, path) }, "sleep", "1000")
			d.ok(``, "create", "--bundle", b.path, name)
			d.ok(``, "start", name)
			d.ok(`^bin\ndev\nproc\nsys\n/\n`, "exec", name, "sh", "-c", "ls /; pwd")
			if n := mountsOf(t, where, b.path); n < 5 {
				t.Errorf("%d mounts", n)
			}
			d.ok(``, "kill", name, "KILL")
			d.ok(``, "delete", "--force", name)
			if n := mountsOf(t, where, b.path); n != 0 {
				t.Errorf("%d mounts are left", n)
			}
			b.configure(nil, "nosuchprogram")
			d.fails(1, `executable file not found in \$PATH`, "run", "--bundle", b.path, name)
			if n := mountsOf(t, where, b.path); n != 0 {
				t.Errorf("%d mounts are left of what failed", n)
			}
			killRuntime(t, d, b, name, where)
		})
	}
}

// killRuntime kills the runtime when it has made the mounts of a container.
func killRuntime(t *testing.T, d *driver, b *bundle, name string, where any) {
	t.Helper()
	b.configure(func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "kill -9 $PPID"}}}}
	}, "true")
	d.fails(-1, ``, "create", "--bundle", b.path, name)
	if n := mountsOf(t, where, b.path); n < 5 {
		t.Errorf("%d mounts when the runtime was killed", n)
	}
	d.ok(``, "delete", name)
	if n := mountsOf(t, where, b.path); n != 0 {
		t.Errorf("%d mounts are left of what was killed", n)
	}
}

// TestRootlessMountNamespaces does it as a user who is root of a user namespace.
func TestRootlessMountNamespaces(t *testing.T) {
	d, home := asUser(t)
	testenv.Need(t, testenv.Tool("unshare"))
	b := newBundle(t)
	give(t, b.path)
	d.ok(``, world.runtime, "spec", "--rootless", "--bundle", b.path)
	const unshare = `unshare --user --map-root-user --mount `
	users := func(s *specs.Spec, path string) {
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		for i, n := range s.Linux.Namespaces {
			if n.Type == specs.UserNamespace {
				s.Linux.Namespaces[i].Path = path
			}
		}
	}
	holder := d.hold(strings.Fields(unshare)...)
	b.configure(func(s *specs.Spec) {
		inMountNamespace(s, fmt.Sprintf("/proc/%d/ns/mnt", holder))
		users(s, fmt.Sprintf("/proc/%d/ns/user", holder))
	}, "sleep", "1000")
	d.ok(``, world.runtime, "create", "--bundle", b.path, "box")
	d.ok(``, world.runtime, "start", "box")
	d.ok(`^0\nbin\ndev\nproc\nsys\n`, world.runtime, "exec", "box", "sh", "-c", "id -u; ls /")
	if n := mountsOf(t, holder, b.path); n < 5 {
		t.Errorf("%d mounts", n)
	}
	d.ok(``, world.runtime, "delete", "--force", "box")
	if n := mountsOf(t, holder, b.path); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if left, err := os.ReadDir(filepath.Join(home, "run/gantry/runtime")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	b.configure(func(s *specs.Spec) {
		inMountNamespace(s, "")
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	}, "sh", "-c", "id -u; ls /")
	d.ok(`^0\nbin\ndev\nproc\nsys\n$`, "sh", "-c", unshare+`sh -c '"$0" run --bundle "$1" two && ! grep " $1" /proc/self/mountinfo' "$0" "$1"`, world.runtime, b.path)
}
