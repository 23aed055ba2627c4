package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

func podman(t *testing.T) *driver {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("podman"))
	dir := filepath.Join(world.dir, "podman")
	conf := filepath.Join(dir, "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", dir+"/graph", dir+"/run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, env: []string{"CONTAINERS_STORAGE_CONF=" + conf, "XDG_RUNTIME_DIR=" + dir}, args: []string{
		"podman", "--cgroup-manager=cgroupfs", "--runtime", world.runtime, "--tmpdir", dir + "/tmp", "--events-backend=none",
	}}
	t.Cleanup(func() { d.run("rm", "-f", "-t", "0", "-a") }) // what a test that failed has left
	d.ok("busybox", "load", "-q", "-i", world.image)
	return d
}

func TestPodman(t *testing.T) {
	d := podman(t)
	flags := []string{"--network=none", "--cgroup-parent=" + os.Getenv(cgroupEnv)}
	run := func(args ...string) []string {
		return append(append([]string{"run", "--rm"}, flags...), args...)
	}
	d.ok(`^hello\n$`, run("busybox", "echo", "hello")...)
	d.fails(7, ``, run("busybox", "sh", "-c", "exit 7")...)
	d.fails(127, `executable file not found in \$PATH`, run("busybox", "nosuchprogram")...)
	d.fails(126, `(?i)permission denied`, run("busybox", "/etc/passwd")...)
	d.ok(`^/dev/pts/0\r?\n$`, run("-t", "busybox", "tty")...)
	d.ok(`uid=1000(.|\n)*CapBnd:\s0{16}`, run("--user", "1000:1000", "--cap-drop", "all", "busybox", "sh", "-c", "id; grep Cap /proc/self/status")...)
	d.ok(`Read-only file system\n(.|\n)*written`, run("--read-only", "--tmpfs", "/tmp", "busybox", "sh", "-c", "touch /x; touch /tmp/x && echo written")...)
	d.ok(`(?m)^67108864$`, run("--memory", "64m", "busybox", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")...)

	d.ok(`^[0-9a-f]{64}`, append(append([]string{"run", "-d", "--name", "box"}, flags...), "busybox", "sleep", "1000")...)
	d.ok(`uid=0`, "exec", "box", "id")
	d.ok(`uid=1000`, "exec", "-u", "1000", "box", "id")
	d.ok(`/dev/pts/`, "exec", "-t", "box", "tty")
	d.fails(3, ``, "exec", "box", "sh", "-c", "exit 3")
	d.fails(127, `not found`, "exec", "box", "nosuchprogram")
	d.ok(`box`, "pause", "box")
	d.ok(`paused`, "inspect", "-f", "{{.State.Status}}", "box")
	d.ok(`box`, "unpause", "box")
	d.ok(`sleep 1000`, "top", "box")
	d.ok(`box`, "stats", "--no-stream", "box")
	d.ok(``, "kill", "-s", "KILL", "box")
	d.ok(`137`, "wait", "box")
	d.ok(``, "start", "box")
	d.ok(`running`, "inspect", "-f", "{{.State.Status}}", "box")
	d.ok(``, "rm", "-f", "-t", "0", "box")
}

func TestPodmanUserNamespace(t *testing.T) {
	d := podman(t)
	// Podman unmounts what /proc/mounts lists below /sys/kernel, the mounts that the
	// sandbox's own /sys hides among them.
	d.args = append([]string{"unshare", "-m", "sh", "-c", "umount -R /sys; exec \"$@\"", "sh"}, d.args...)
	d.ok(`(?m)^\s+0\s+100000\s+65536$`, "run", "--rm", "--network=none", "--cgroup-parent="+os.Getenv(cgroupEnv),
		"--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "busybox", "cat", "/proc/self/uid_map")
}
