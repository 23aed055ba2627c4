package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// counter starts a container that counts, and lets it come to 3.
func (c *cli) counter(flags ...string) string {
	c.t.Helper()
	name := c.container()
	c.ok(slices.Concat([]string{"run", "-d", "--name", name}, flags, []string{"busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"})...)
	c.countsTo(name, 3)
	return name
}

func (c *cli) countsTo(name string, n int) {
	c.t.Helper()
	c.until("number "+strconv.Itoa(n), func(s string) bool { last := c.lastNumber(s); return last >= n }, "logs", "--tail", "1", name)
}

func (c *cli) lastNumber(log string) int {
	lines := strings.Fields(log)
	if len(lines) == 0 {
		return 0
	}
	n, err := strconv.Atoi(lines[len(lines)-1])
	if err != nil {
		c.t.Errorf("no number: %q", tail(log))
	}
	return n
}

// counted requires that the log of a counter has every number once up to the last,
// which it gives.
func (c *cli) counted(name string) int {
	c.t.Helper()
	log := c.ok("logs", name)
	last := c.lastNumber(log)
	var want strings.Builder
	for i := range last {
		fmt.Fprintln(&want, i+1)
	}
	equal(c.t, "log", strings.ReplaceAll(log, "\r", "")+"\n", want.String())
	return last
}

const stateFormat = "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.State.Pid}}"

// TestCheckpoint writes containers to files, and has them go on where they were.
// dockerd depends on a runtime and a containerd of the right age for that, so it is
// no oracle here. One daemon does for all: on the machine where criu works they are
// slow.
func TestCheckpoint(t *testing.T) {
	needEngine(t, gantryEngine)
	testenv.Need(t, testenv.Root, testenv.CRIU)
	t.Parallel()
	e := own(t, engineOptions{args: []string{"--experimental"}})
	t.Run("working", func(t *testing.T) {
		for name, scenario := range map[string]func(*cli){
			"goes on": checkpointGoesOn, "server": checkpointOfServer, "terminal": checkpointOfTerminal,
			"elsewhere": checkpointElsewhere, "fails": checkpointFails, "restore fails": restoreFails, "docker": checkpointOfDocker,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(one(t, e))
			})
		}
	})
	checkpointAndCrash(one(t, e))
}

func checkpointGoesOn(c *cli) {
	t := c.t
	name := c.counter("--restart", "always", "--health-cmd", "test -e /etc/hosts", "--health-interval", "1s")
	begin := time.Now()
	equal(t, "create", c.ok("checkpoint", "create", name, "one"), "one")
	equal(t, "it has ended, and stays", c.ok("inspect", "-f", stateFormat, name), "exited false 137 0")
	last := c.counted(name)
	equal(t, "ls", c.ok("checkpoint", "ls", name), "CHECKPOINT NAME\none")

	equal(t, "start", c.ok("start", "--checkpoint", "one", name), "") // nor does docker say anything
	matches(t, "it runs", c.ok("inspect", "-f", stateFormat, name), `^running true 0 [1-9]\d*$`)
	c.countsTo(name, last+3)
	c.counted(name)
	matches(t, "exec", c.ok("exec", name, "sh", "-c", "cat /proc/1/comm; cat /etc/hosts; hostname"), `^sh\n(.*\n)*\w{12}$`)
	matches(t, "stats", c.ok("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", name), `^[1-9]\d* [1-9]`)
	c.until("healthy", func(s string) bool { return strings.TrimSpace(s) == "healthy" }, "inspect", "-f", "{{.State.Health.Status}}", name)
	c.ok("stop", "-t", "1", name)
	equal(t, "after stop", c.ok("inspect", "-f", stateFormat, name), "exited false 137 0")
	logged := c.counted(name)

	// Once more from the same files, which go on with the first number after the dump.
	c.ok("start", "--checkpoint", "one", name)
	lines := strings.Fields(c.until("more", func(s string) bool { return len(strings.Fields(s)) > logged }, "logs", name))
	equal(t, "the next number", lines[logged], strconv.Itoa(last+1))
	c.ok("rm", "-f", name)
	var events []string
	out := c.ok("events", "--since", fmt.Sprintf("%d.%09d", begin.Unix(), begin.Nanosecond()), "--until", strconv.FormatInt(time.Now().Unix()+1, 10), "--filter", "container="+name, "--format", "{{.Action}}")
	for _, action := range strings.Fields(out) {
		if slices.Contains([]string{"checkpoint", "die", "start"}, action) {
			events = append(events, action)
		}
	}
	equal(t, "events", strings.Join(events, " "), "checkpoint die start die start die")
}

// checkpointOfDocker is what Docker's own client makes of it. It is installed also
// where the suite does without it, to spare time.
func checkpointOfDocker(c *cli) {
	c.client = client{"docker", currentDocker()}
	if _, err := os.Stat(c.path); err != nil {
		c.t.Fatal(err)
	}
	name := c.counter()
	equal(c.t, "create", c.ok("checkpoint", "create", "--leave-running", name, "first"), "first")
	equal(c.t, "create", c.ok("checkpoint", "create", name, "second"), "second")
	last := c.counted(name)
	equal(c.t, "start", c.ok("start", "--checkpoint", "second", name), "")
	c.countsTo(name, last+3)
	c.counted(name)
	c.ok("checkpoint", "rm", name, "first")
	equal(c.t, "ls", c.ok("checkpoint", "ls", name), "CHECKPOINT NAME\nsecond")
}

// checkpointAndCrash has containers that are left running, and a daemon that dies.
func checkpointAndCrash(c *cli) {
	t, e := c.t, c.e
	name := c.counter()
	id, pid, _ := strings.Cut(c.ok("inspect", "-f", "{{.Id}} {{.State.Pid}}", name), " ")
	background := c.start("exec", name, "sleep", "600") // is not of the tree that is dumped
	c.until("exec", func(s string) bool { return strings.Contains(s, "sleep 600") }, "top", name)
	c.ok("checkpoint", "create", "--leave-running", name, "first")
	equal(t, "process", c.ok("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", name), "running "+pid)
	c.countsTo(name, c.counted(name)+3)
	matches(t, "the exec lives", c.ok("top", name), "sleep 600")
	matches(t, "a second of that name", c.fails(1, "checkpoint", "create", name, "first"), `^Error response from daemon: cannot checkpoint container \S+: checkpoint with name first already exists for container \S+$`)
	c.ok("checkpoint", "create", name, "second")
	background.wait()
	c.counted(name)

	root := filepath.Join(e.dir, "data", "containers", id, "checkpoints")
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 2 {
		t.Fatalf("checkpoints: %v, %v", entries, err)
	}
	for _, dir := range []string{root, filepath.Join(root, "first")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	var cfg struct {
		CheckpointID, ContainerID string
		Exit                      bool
	}
	data, err := os.ReadFile(filepath.Join(root, "second", "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &cfg)
	}
	if err != nil || cfg.CheckpointID != "second" || cfg.ContainerID != id || !cfg.Exit {
		t.Errorf("config.json: %s, %v", data, err)
	}
	c.ok("checkpoint", "rm", name, "first")
	equal(t, "one that is not there", c.fails(1, "start", "--checkpoint", "first", name),
		"Error response from daemon: checkpoint first does not exist for container "+name)

	c.ok("start", "--checkpoint", "second", name)
	if err := e.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	c.countsTo(name, c.counted(name)+3)
	c.counted(name)
	c.ok("kill", name)
	equal(t, "after kill", c.ok("inspect", "-f", stateFormat, name), "exited false 137 0")
	c.ok("rm", name)
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("checkpoints of a removed container: %v", err)
	}
}

// checkpointOfServer has a program with threads, sockets and a published port.
func checkpointOfServer(c *cli) {
	t := c.t
	const addressFormat = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
	name := c.server("-p", "80", "-e", "GODEBUG=multipathtcp=0") // which criu does not know
	address := c.ok("inspect", "-f", addressFormat, name)
	c.ok("checkpoint", "create", name, "serving")
	c.ok("start", "--checkpoint", "serving", name)
	equal(t, "address", c.ok("inspect", "-f", addressFormat, name), address)
	body := fetch(t.(*testing.T), "http://127.0.0.1:"+c.hostPort(name, "80/tcp")+"/b")
	matches(t, "after", body, `^web \S+ /b\n$`)
	alone := c.background("--network", "none")
	c.ok("checkpoint", "create", alone, "alone")
	c.ok("start", "--checkpoint", "alone", alone)
	equal(t, "without network", c.ok("exec", alone, "sh", "-c", "ls /sys/class/net; cat /proc/1/comm"), "lo\nsleep")
}

func checkpointOfTerminal(c *cli) {
	name := c.counter("-it")
	c.ok("checkpoint", "create", name, "tty")
	last := c.counted(name)
	c.ok("start", "--checkpoint", "tty", name)
	c.countsTo(name, last+3)
	c.counted(name)
	p := c.startTTY(24, 80, "attach", name)
	p.expect("\n")
	p.send("\x10\x11")               // detach
	if code := p.wait(); code != 1 { // as docker
		c.t.Errorf("attach ended with %d", code)
	}
}

// checkpointElsewhere has the files in a directory that the user names.
func checkpointElsewhere(c *cli) {
	t := c.t
	name, dir := c.counter(), filepath.Join(c.home, "new")
	c.ok("checkpoint", "create", "--checkpoint-dir", dir, name, "away")
	last := c.counted(name)
	equal(t, "ls", c.ok("checkpoint", "ls", "--checkpoint-dir", dir, name), "CHECKPOINT NAME\naway")

	// Whoever can write there says what runs with all rights of the container.
	start := []string{"start", "--checkpoint-dir", dir, "--checkpoint"}
	if err := os.Symlink("away", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	matches(t, "a link", c.fails(1, append(start, "link", name)...), "exists and is not a directory")
	away := filepath.Join(dir, "away")
	for _, change := range []func() error{func() error { return os.Chmod(away, 0o777) }, func() error { return os.Chown(away, 1000, 0) }} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		matches(t, "others'", c.fails(1, append(start, "away", name)...), "must belong to user 0 and be writable for nobody else")
		equal(t, "it stays as it was", c.ok("inspect", "-f", stateFormat, name), "exited false 137 0")
		if err := errors.Join(os.Chmod(away, 0o700), os.Chown(away, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	c.ok(append(start, "away", name)...)
	c.countsTo(name, last+3)
	c.counted(name)
	c.ok("checkpoint", "rm", "--checkpoint-dir", dir, name, "away")
	if _, err := os.Stat(away); !os.IsNotExist(err) {
		t.Errorf("a removed checkpoint: %v", err)
	}
}

// checkpointFails leaves the container running, and nothing else.
func checkpointFails(c *cli) {
	t := c.t
	name := c.container()
	// A connection, which criu does not dump unless it is told to.
	c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "mkfifo /f; sleep 600 <>/f & nc -l -p 5000 </f & while :; do nc 127.0.0.1 5000 </f; sleep 0.1; done")
	c.until("connection", func(s string) bool { return strings.Contains(s, "ESTABLISHED") }, "exec", name, "netstat", "-tn")
	matches(t, "a connection", c.fails(1, "checkpoint", "create", name, "one"), `^Error response from daemon: Cannot checkpoint container \S+: checkpoint container \S+: criu failed: .*Connected TCP socket`)
	equal(t, "it runs", c.ok("exec", name, "echo", "yes"), "yes")
	entries, err := os.ReadDir(filepath.Join(c.e.dir, "data", "containers", c.ok("inspect", "-f", "{{.Id}}", name), "checkpoints"))
	if err != nil || len(entries) > 0 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
}

// restoreFails leaves the container stopped.
func restoreFails(c *cli) {
	t := c.t
	name := c.counter()
	c.ok("checkpoint", "create", name, "broken")
	pages, err := filepath.Glob(filepath.Join(c.e.dir, "data", "containers", c.ok("inspect", "-f", "{{.Id}}", name), "checkpoints", "broken", "pages-*.img"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in the checkpoint: %v", err)
	}
	for _, file := range pages {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	last := c.counted(name)
	matches(t, "restore", c.fails(1, "start", "--checkpoint", "broken", name), `failed to start container from checkpoint broken: restore container`)
	equal(t, "it is stopped", c.ok("inspect", "-f", stateFormat, name), "exited false 137 0")
	c.ok("start", name)
	lines := strings.Fields(c.until("another beginning", func(s string) bool { return len(strings.Fields(s)) > last }, "logs", name))
	equal(t, "it counts anew", lines[last], "1")
}
