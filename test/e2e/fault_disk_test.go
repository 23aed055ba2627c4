package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// smallDisk mounts a tmpfs with the given options as a data root.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	root, err := os.MkdirTemp("", "e2e-disk-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
		if err := os.Remove(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// fill takes all the space of a disk; free gives it back.
func fill(t *testing.T, root string) (free func()) {
	t.Helper()
	name := filepath.Join(root, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
	return func() { must(os.Remove(name)) }
}

// onBadDisk checks what a disk that takes nothing must not harm: what runs goes
// on and can be ended, what cannot be done says why, and afterwards all works.
func onBadDisk(t *testing.T, e *engine, reason string, spoil func() (mend func())) {
	c := one(t, e)
	const runs, stopped, ended = "runs", "stopped", "ended"
	c.ok("run", "-d", "--name", runs, "--restart", "unless-stopped", "-v", "/vol", "probe", "probe", "tick")
	c.ok("create", "--name", stopped, "busybox", "echo", "hello")
	c.ok("run", "-d", "--name", ended, "busybox", "sleep", "600")
	c.ok("run", "-d", "--name", "makes-room", "busybox", "sleep", "600")
	mend := spoil()
	refused(c, runs, reason)
	equal(t, "exec", c.ok("exec", runs, "echo", "alive"), "alive")
	equal(t, "still there under its name", c.ok("inspect", "-f", "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}", runs), "running unless-stopped")
	c.ok("rm", "-f", "makes-room")
	c.ok("stop", "-t", "0", ended)
	c.untilState(ended, "exited")
	names := c.ok("ps", "-a", "--format", "{{.Names}}")
	mend()
	equal(t, "containers", names, "ended\nstopped\nruns")
	equal(t, "stopped one starts", c.ok("start", "-a", stopped), "hello")
	c.ok("rename", runs, "renamed")
	c.ok("run", "--name", "refused", "busybox", "true")
	e.crash(t)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a restart", c.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "renamed"), "running 0")
	equal(t, "the exit is known", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", ended), "exited 137")
	c.ok("rm", "-f", "-v", "renamed", stopped, ended, "refused")
	nothingLeft(t, e)
}

// refused checks that what a disk that takes nothing makes impossible is refused
// for that reason.
func refused(c *cli, running, reason string) {
	c.t.Helper()
	for _, args := range [][]string{
		{"create", "--name", "refused", "busybox", "true"},
		{"run", "--name", "refused", "busybox", "true"},
		{"rename", running, "renamed"},
		{"commit", running, "refused"},
		{"volume", "create", "refused"},
		{"update", "--restart", "no", running},
	} {
		r := c.do(args...)
		if r.code == 0 {
			c.t.Errorf("%q succeeded", args)
		}
		matches(c.t, fmt.Sprintf("%q", args), r.stderr, reason)
	}
}

// TestDiskFullLater: the data root runs full while containers run.
func TestDiskFullLater(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	root := smallDisk(t, "size=64m")
	e := own(t, engineOptions{dataRoot: root})
	onBadDisk(t, e, "no space left on device", func() func() { return fill(t, root) })
}

// TestDiskReadOnly: the kernel makes the data root read-only, as after an I/O
// error. What runs goes on and can be stopped; after a repair all is there.
func TestDiskReadOnly(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	root := filepath.Join(filepath.Dir(disk), "root")
	must(os.Mkdir(root, 0o755))
	sh := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	sh("truncate", "-s", "128M", disk)
	sh("mkfs.ext4", "-q", disk)
	sh("mount", "-o", "loop", disk, root)
	t.Cleanup(func() { sh("umount", root) })
	e := own(t, engineOptions{dataRoot: root})
	c := one(t, e)
	c.ok("run", "-d", "--name", "runs", "--restart", "unless-stopped", "-p", "127.0.0.1::80", "probe", "probe", "tick")
	c.ok("create", "--name", "waits", "busybox", "echo", "hello")
	sh("sync", "-f", root)
	sh("mount", "-o", "remount,abort", root)
	refused(c, "runs", "read-only file system")
	equal(t, "exec", c.ok("exec", "runs", "echo", "alive"), "alive")
	c.ok("stop", "-t", "0", "runs")
	equal(t, "stopped", c.ok("inspect", "-f", "{{.State.Status}}", "runs"), "exited")
	// The repair, as at a reboot.
	must(e.signal(syscall.SIGTERM))
	for pid := e.supervisor(); pid != 0; pid = e.supervisor() { // it ends when nothing is left to be cleaned
		time.Sleep(time.Millisecond)
	}
	sh("umount", root)
	for { // containers that are just being made by other tests have copies of the mount for a moment
		used, err := exec.Command("losetup", "-j", disk).Output()
		must(err)
		if len(used) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_ = exec.Command("e2fsck", "-fy", disk).Run() // 1 says that it has corrected something
	sh("mount", "-o", "loop", disk, root)
	must(e.start())
	c.untilState("runs", "running") // that it was stopped could not be recorded
	equal(t, "the other", c.ok("start", "-a", "waits"), "hello")
	c.ok("rm", "-f", "runs", "waits")
	nothingLeft(t, e)
}

// TestInodesExhausted: there are bytes left, but no inodes.
func TestInodesExhausted(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	root := smallDisk(t, "size=64m,nr_inodes=4000")
	e := own(t, engineOptions{dataRoot: root})
	onBadDisk(t, e, "no space left on device", func() func() {
		dir := filepath.Join(root, "filler")
		must(os.Mkdir(dir, 0o755))
		var err error
		for i := 0; err == nil; i++ {
			err = unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o644, 0)
		}
		return func() { must(os.RemoveAll(dir)) }
	})
}

// TestLogOnFullDisk: a container that logs to a full disk is not held up, and
// logs again when there is room.
func TestLogOnFullDisk(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	root := smallDisk(t, "size=64m")
	e := own(t, engineOptions{dataRoot: root})
	c := one(t, e)
	c.ok("run", "-d", "-i", "--name", "writer", "busybox", "sh", "-c", "echo before; while read n; do seq $n; echo done >> /dev/shm/done; done")
	in := c.start("attach", "writer")
	c.until("the first line is logged", func(s string) bool { return s == "before\n" }, "logs", "writer")
	free := fill(t, root)
	in.send("100000\n")
	c.until("the writer goes on", func(s string) bool { return s == "done\n" }, "exec", "writer", "cat", "/dev/shm/done")
	free()
	in.send("3\n")
	c.until("logs again", func(s string) bool { return strings.HasPrefix(s, "before\n") && strings.HasSuffix(s, "\n1\n2\n3\n") }, "logs", "writer")
	c.ok("rm", "-f", "writer")
}

// TestReadOnlyFromTheStart: a daemon that cannot write its data root says so.
func TestReadOnlyFromTheStart(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	root := smallDisk(t, "ro")
	e, err := startEngine(t.TempDir(), engineOptions{dataRoot: root, args: []string{"--bridge", "none"}})
	if err == nil {
		_ = e.signal(syscall.SIGKILL)
		t.Fatal("the daemon started")
	}
	matches(t, "message", err.Error(), root+".*read-only file system")
}
