package runtimes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// containerd starts a daemon of its own and gives its client.
func containerd(t *testing.T) *driver {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("containerd"), testenv.Tool("ctr"))
	dir := filepath.Join(world.dir, "containerd")
	conf, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "sock")
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = %q
[ttrpc]
address = %q
`, dir+"/root", dir+"/state", socket, socket+".ttrpc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("containerd", "-c", conf)
	d := &driver{t: t, args: []string{"ctr", "-a", socket}}
	d.serve(daemon)
	d.ok("done", "images", "import", world.image)
	return d
}

func TestContainerd(t *testing.T) {
	d := containerd(t)
	const image = "docker.io/library/busybox:latest"
	run := func(args ...string) []string {
		return append([]string{"run", "--runc-binary", world.runtime, "--cgroup", os.Getenv(cgroupEnv) + "/ctr"}, args...)
	}
	d.ok(`^hello\n$`, run("--rm", image, "one", "echo", "hello")...)
	d.fails(9, ``, run("--rm", image, "two", "sh", "-c", "exit 9")...)
	d.fails(1, `executable file not found in \$PATH`, run("--rm", image, "three", "nosuchprogram")...)
	d.ok(`^x y\n$`, run("--rm", "--env", "A=x", "--env", "B=y", image, "four", "sh", "-c", "echo $A $B")...)
	d.ok(`CapEff:\s0000003fffffffff|CapEff:\s[0-9a-f]*fff`, run("--rm", "--privileged", image, "five", "grep", "CapEff", "/proc/self/status")...)

	d.ok(``, run("-d", image, "box", "sleep", "1000")...)
	d.ok(`box\s+\d+\s+RUNNING`, "tasks", "ls")
	d.ok(`uid=0`, "tasks", "exec", "--exec-id", "e1", "box", "id")
	d.fails(4, ``, "tasks", "exec", "--exec-id", "e2", "box", "sh", "-c", "exit 4")
	d.ok(``, "tasks", "pause", "box")
	d.ok(`box\s+\d+\s+PAUSED`, "tasks", "ls")
	d.ok(``, "tasks", "resume", "box")
	d.ok(`box\s+\d+\s+RUNNING`, "tasks", "ls")
	d.ok(`(?s)memory.*\d`, "tasks", "metrics", "box")
	d.ok(`\d`, "tasks", "ps", "box")
	d.ok(``, "tasks", "kill", "-s", "SIGKILL", "box")
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out, _ := d.run("tasks", "ls")
		if !strings.Contains(out, "RUNNING") {
			break
		}
		if time.Since(start) > timeout {
			t.Fatalf("the task does not end:\n%s", out)
		}
	}
	d.ok(``, "tasks", "rm", "box")
	d.ok(``, "containers", "rm", "box")
}
