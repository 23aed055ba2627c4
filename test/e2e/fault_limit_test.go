package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitFiles lets a process have only room more descriptors than it has now;
// lift takes the limit away.
func limitFiles(t *testing.T, pid, room int) (lift func()) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	low := unix.Rlimit{Cur: uint64(len(open) + room)}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	low.Max = old.Max
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestDescriptorsExhausted starts containers while the daemon, or the supervisor,
// is short of descriptors: starts fail with that reason, what runs goes on, and
// with more descriptors everything works again.
func TestDescriptorsExhausted(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	for _, who := range []struct {
		name string
		pid  func(e *engine) int
	}{
		{"daemon", func(e *engine) int { return e.cmd.Process.Pid }},
		{"supervisor", (*engine).supervisor},
	} {
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			e := own(t, engineOptions{})
			c := one(t, e)
			c.ok("run", "-d", "--name", "runs", "probe", "probe", "tick")
			pid := who.pid(e)
			for room := 2; room < 30; room += 3 {
				lift := limitFiles(t, pid, room)
				name := fmt.Sprintf("short-%d", room)
				p := c.start("run", "-d", "--name", name, "-p", "127.0.0.1::80", "busybox", "sleep", "600")
				ended := make(chan int, 1)
				go func() { ended <- p.wait() }()
				select {
				case code := <-ended:
					if code != 0 {
						matches(t, fmt.Sprintf("with %d descriptors", room), p.errOut.String(), "too many open files")
					}
					lift()
				case <-time.After(2 * time.Second): // it waits for a descriptor to be accepted with
					lift()
					<-ended
				}
				equal(t, "what runs", c.ok("inspect", "-f", "{{.State.Status}}", "runs"), "running")
				agree(t, e, fmt.Sprintf("with %d descriptors", room))
				c.do("rm", "-f", name)
			}
			if now := who.pid(e); now != pid {
				t.Errorf("process %d was replaced by %d", pid, now)
			}
			before := c.ok("logs", "--tail", "1", "runs")
			c.until("the log goes on", func(s string) bool { return strings.TrimSpace(s) > before }, "logs", "--tail", "1", "runs")
			equal(t, "afterwards", c.ok("run", "--rm", "busybox", "echo", "works"), "works")
			c.ok("rm", "-f", "runs")
			nothingLeft(t, e)
		})
	}
}

// TestOutOfMemory: the kernel's kill is told apart from anybody else's.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	c := one(t, world.engine)
	eater, victim := c.container(), c.container()
	since := fmt.Sprint(time.Now().Unix())
	c.do("run", "--name", eater, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "exec tail /dev/zero")
	equal(t, "eater", c.ok("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", eater), "137 true")
	c.ok("run", "-d", "--name", victim, "--memory", "16m", "busybox", "sleep", "600")
	c.ok("kill", victim)
	equal(t, "victim", c.ok("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", victim), "137 false")
	seen := func(name string) string {
		return c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "container="+name, "--format", "{{.Action}}")
	}
	matches(t, "events of the eater", seen(eater), `(?s)\boom\b.*\bdie\b`)
	if got := seen(victim); strings.Contains(got, "oom") {
		t.Errorf("events of the victim: %q", got)
	}
}

// TestOutOfMemoryOfAChild: the init lives, so the container was not killed; one
// that is killed later for another reason is no victim of memory.
func TestOutOfMemoryOfAChild(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	c := one(t, world.engine)
	name := c.container()
	c.ok("run", "-d", "--name", name, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "tail /dev/zero; echo survived $?; exec sleep 600")
	c.until("the child's end", func(s string) bool { return s == "survived 137\n" }, "logs", name)
	equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.OOMKilled}}", name), "running false")
}

// TestForkBomb: a bomb below --pids-limit hurts nobody else and can be ended.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	c := one(t, world.engine)
	name := c.container()
	c.ok("run", "-d", "--name", name, "--pids-limit", "50", "busybox", "sh", "-c", "while :; do sh -c 'while :; do sleep 600 & done'; done")
	c.until("the limit", func(s string) bool { return strings.TrimSpace(s) == "50" }, "stats", "--no-stream", "--format", "{{.PIDs}}", name)
	matches(t, "log", c.do("logs", "--tail", "1", name).stderr, "can't fork: Resource temporarily unavailable")
	equal(t, "others", c.ok("run", "--rm", "busybox", "echo", "fine"), "fine")
	start := time.Now()
	c.ok("rm", "-f", name)
	if d := time.Since(start); d > time.Minute {
		t.Errorf("rm -f took %s", d)
	}
}
