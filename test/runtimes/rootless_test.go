package runtimes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// The ordinary user of these tests is one that every Debian has. What it may map
// besides itself is said in files that are bound over the machine's own.
const (
	user                  = "games"
	userID, userGID       = 5, 60
	firstSubID, subIDSize = 300000, 65536
)

// asUser is a driver whose program runs as that user, with a runtime directory.
func asUser(t *testing.T, args ...string) (d *driver, home string) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Tool("newuidmap"), testenv.Tool("setpriv"))
	home = t.TempDir()
	for _, name := range []string{"subuid", "subgid"} {
		file := filepath.Join(home, name)
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%d:%d\n", user, firstSubID, subIDSize), 0o644); err != nil {
			t.Fatal(err)
		}
		mount(t, file, "/etc/"+name, "", unix.MS_BIND, "")
	}
	if err := os.Mkdir(filepath.Join(home, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	give(t, home)
	for dir := home; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	drop := []string{"setpriv", "--reuid", strconv.Itoa(userID), "--regid", strconv.Itoa(userGID), "--clear-groups"}
	env := []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home + "/run"}
	return &driver{t: t, args: append(drop, args...), env: env, dir: home}, home
}

// mount mounts in the mount namespace of the tests until the test ends.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// give makes the user the owner of a tree, and lets the user through to it.
func give(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", userID, userGID), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestRootless(t *testing.T) {
	d, home := asUser(t, world.runtime)
	b := newBundle(t)
	give(t, b.path)
	d.ok(``, "spec", "--rootless", "--bundle", b.path)
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, []byte("bound\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.configure(func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/vol/file", Type: "bind", Source: file, Options: []string{"bind", "ro"}})
	}, "sh", "-c", `id -u; id -g; cat /proc/self/uid_map; cat /vol/file; touch /x; echo > /dev/null && echo null; touch /vol/file`)
	d.fails(1, `^0\n0\n\s+0\s+5\s+1\nbound\nnull\n.*Read-only file system`, "run", "--bundle", b.path, "one")
	if st, err := os.Stat(filepath.Join(b.path, "rootfs/x")); err != nil || st.Sys() == nil {
		t.Error(err)
	}
	b.configure(nil, "nosuchprogram")
	d.fails(1, `executable file not found in \$PATH`, "run", "--bundle", b.path, "two")

	b.configure(nil, "sleep", "1000")
	d.ok(``, "create", "--bundle", b.path, "box")
	d.ok(`"status": "created"`, "state", "box")
	d.ok(``, "start", "box")
	d.ok(`box .*running`, "list")
	d.ok(`^0\n`, "exec", "box", "id", "-u")
	d.fails(4, ``, "exec", "box", "sh", "-c", "exit 4")
	d.ok(`sleep 1000`, "ps", "box")
	d.fails(1, `there is no freezer that this user may use`, "pause", "box")
	d.fails(1, `cannot set memory limit`, "update", "--memory", "100000000", "box")
	d.ok(``, "kill", "--all", "box", "KILL")
	d.ok(``, "delete", "--force", "box")
	if left, err := os.ReadDir(filepath.Join(home, "run/gantry/runtime")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	// What cannot be given is not left out in silence.
	b.configure(func(s *specs.Spec) {
		limit := int64(100 << 20)
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	}, "sleep", "1000")
	d.fails(1, `cannot set memory limit`, "run", "--bundle", b.path, "three")
	d.fails(1, `(?i)permission denied`, "--rootless=false", "run", "--bundle", b.path, "four")
}

func TestRootlessSubordinateIDs(t *testing.T) {
	d, _ := asUser(t, world.runtime)
	b := newBundle(t)
	give(t, b.path)
	d.ok(``, "spec", "--rootless", "--bundle", b.path)
	b.configure(func(s *specs.Spec) {
		s.Root.Readonly = false
		more := specs.LinuxIDMapping{ContainerID: 1, HostID: firstSubID, Size: 1000}
		s.Linux.UIDMappings, s.Linux.GIDMappings = append(s.Linux.UIDMappings, more), append(s.Linux.GIDMappings, more)
		s.Process.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9}}
	}, "sh", "-c", "id -u; id -G; sleep 1000")
	b.configure(nil, "sh", "-c", "id -u; id -G; touch /dev/shm/x; stat -c %u:%g /dev/shm/x")
	d.ok(`^7\n8 9\n7:8\n$`, "run", "--bundle", b.path, "one")
	b.configure(func(s *specs.Spec) { s.Linux.UIDMappings[1].HostID = 1000 }, "id")
	d.fails(1, `newuidmap.*(not allowed|denied)(.|\n)*/etc/subuid`, "run", "--bundle", b.path, "two")
}

// TestRootlessDelegated gives the user a part of a cgroup v2 hierarchy.
func TestRootlessDelegated(t *testing.T) {
	d, home := asUser(t)
	b := newBundle(t)
	give(t, b.path)
	group := os.Getenv(cgroupEnv) + "/rootless"
	const delegate = `g=/sys/fs/cgroup$GROUP && mkdir -p "$g/shell" && chown -R games:games "$g" && echo $$ > "$g/shell/cgroup.procs" && exec "$@"`
	d.env = append(d.env, "GROUP="+group)
	d.args = append([]string{"unshare", "-m", "sh", "-c", unified, filepath.Join(home, "cgroup"), "sh", "-c", delegate, "sh"},
		append(d.args, world.runtime)...)
	d.ok(``, "spec", "--rootless", "--bundle", b.path)
	b.configure(func(s *specs.Spec) {
		s.Linux.CgroupsPath = group + "/box"
	}, "sleep", "1000")
	d.ok(``, "run", "--detach", "--bundle", b.path, "box")
	d.ok(`^0::/\n$`, "exec", "box", "grep", "^0:", "/proc/self/cgroup")
	d.ok(``, "pause", "box")
	d.ok(`"status": "paused"`, "state", "box")
	d.ok(``, "resume", "box")
	d.ok(``, "delete", "--force", "box")
}

func TestPodmanRootless(t *testing.T) {
	testenv.Need(t, testenv.Tool("podman"))
	d, home := asUser(t)
	conf := filepath.Join(home, "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", home+"/graph", home+"/run/containers")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d.env = append(d.env, "CONTAINERS_STORAGE_CONF="+conf)
	d.args = append(d.args, "podman", "--cgroup-manager=cgroupfs", "--runtime", world.runtime, "--events-backend=none")
	t.Cleanup(func() {
		d.run("rm", "-f", "-t", "0", "-a") // what a test that failed has left
		d.run("unshare", "rm", "-rf", home+"/graph")
		d.run("system", "migrate") // ends the process that keeps the user namespace
	})
	d.ok("busybox", "load", "-q", "-i", world.image)
	run := func(name string, args ...string) {
		d.ok(`^[0-9a-f]{64}`, append([]string{"run", "-d", "--network=none", "--name", name}, args...)...)
	}
	run("one", "busybox", "id", "-u")
	run("two", "--user", "1000", "busybox", "id", "-u")
	run("box", "busybox", "sleep", "1000")
	d.fails(127, `executable file not found in \$PATH`, "run", "--rm", "--network=none", "busybox", "nosuchprogram")
	d.ok(`uid=0`, "exec", "box", "id")
	d.fails(3, ``, "exec", "box", "sh", "-c", "exit 3")
	d.ok(`running`, "inspect", "-f", "{{.State.Status}}", "box")
	d.ok(`^0\n$`, "logs", "one")
	d.ok(`^1000\n$`, "logs", "two")
	d.ok(`box`, "kill", "-s", "KILL", "box")
}
