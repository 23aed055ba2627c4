package runtimes

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// docker starts a dockerd, with a containerd of its own, for which runc is
// gantry-runtime, and gives the client of the same version: later ones have no
// BuildKit client in them.
func docker(t *testing.T) *driver {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/usr/bin/docker"), testenv.Tool("dockerd"), testenv.Tool("containerd"))
	dir := t.TempDir()
	programs, socket := filepath.Join(dir, "bin"), filepath.Join(dir, "sock")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(world.runtime, filepath.Join(programs, "runc")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-H", "unix://"+socket,
		"--pidfile", dir+"/pid", "--bridge", "none", "--iptables=false", "--cgroup-parent", os.Getenv(cgroupEnv), "--config-file", dir+"/daemon.json")
	daemon.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
	d := &driver{t: t, args: []string{"/usr/bin/docker", "-H", "unix://" + socket}, env: []string{"DOCKER_BUILDKIT=1", "HOME=" + dir}}
	d.serve(daemon)
	d.ok("busybox", "load", "-q", "-i", world.image)
	return d
}

func TestDocker(t *testing.T) {
	d := docker(t)
	d.ok(`^hello\n$`, "run", "--rm", "busybox", "echo", "hello")
	d.fails(7, ``, "run", "--rm", "busybox", "sh", "-c", "exit 7")
	d.fails(127, `executable file not found in \$PATH`, "run", "--rm", "busybox", "nosuchprogram")
	d.ok(`(?m)^67108864$`, "run", "--rm", "--memory", "64m", "busybox", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
	d.ok(`^[0-9a-f]{64}\n`, "run", "-d", "--init", "--name", "box", "busybox", "sleep", "1000")
	d.ok(`uid=1000`, "exec", "-u", "1000", "box", "id")
	d.fails(3, ``, "exec", "box", "sh", "-c", "exit 3")
	d.ok(`box`, "pause", "box")
	d.ok(`paused`, "inspect", "-f", "{{.State.Status}}", "box")
	d.ok(`box`, "unpause", "box")
	d.ok(`sleep 1000`, "top", "box")
	d.ok(`box`, "update", "--memory", "100m", "--memory-swap", "100m", "box")
	d.ok(`box`, "rm", "-f", "box")
}

// TestBuildKit builds with dockerd's BuildKit, whose executor runs runc.
func TestBuildKit(t *testing.T) {
	d := docker(t)
	dir := t.TempDir()
	text := "FROM busybox\nCOPY file /file\nRUN cat /file > /copy && id -u > /who\nUSER 1000\nRUN id -u > /tmp/who\nRUN --mount=type=tmpfs,target=/mnt grep ' /mnt tmpfs' /proc/mounts > /tmp/mount\n"
	for name, text := range map[string]string{"Dockerfile": text, "file": "from the context\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.ok(``, "build", "--network", "none", "--progress", "plain", "-t", "built", dir)
	d.ok(`^from the context\n0\n1000\ntmpfs /mnt tmpfs`, "run", "--rm", "built", "cat", "/copy", "/who", "/tmp/who", "/tmp/mount")
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nRUN exit 9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.fails(1, `exit code: 9`, "build", "--network", "none", "--progress", "plain", dir)
}
