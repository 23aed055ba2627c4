package e2e

import (
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

// TestRestartPolicyOverDaemonRestarts: what each policy makes of containers that
// ran, ended or were stopped before the daemon, or the whole machine, went down.
func TestRestartPolicyOverDaemonRestarts(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	for _, down := range []string{"stopped", "killed", "rebooted"} {
		t.Run(down, func(t *testing.T) {
			t.Parallel()
			e := own(t, engineOptions{})
			c := one(t, e)
			run := func(name, policy string) {
				c.ok("run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "600")
			}
			run("no", "no")
			run("always", "always")
			run("unless", "unless-stopped")
			run("failure", "on-failure:5")
			run("always-stopped", "always")
			run("unless-stopped", "unless-stopped")
			c.ok("stop", "-t", "0", "always-stopped", "unless-stopped")
			want := "always\nalways-stopped\nfailure\nno\nunless"
			switch down {
			case "stopped":
				must(e.signal(syscall.SIGTERM))
			case "killed":
				e.crash(t)
			case "rebooted":
				e.crash(t)
				e.killEverything(t)
				want = "always\nalways-stopped\nfailure\nunless" // 255 is a failure
			}
			must(e.start())
			c.until("the containers", func(s string) bool { return sortedLines(s) == want }, "ps", "--format", "{{.Names}}")
			time.Sleep(200 * time.Millisecond) // in which nothing else may start
			equal(t, "running", sortedLines(c.ok("ps", "--format", "{{.Names}}")), want)
		})
	}
}

func sortedLines(s string) string {
	lines := strings.Fields(s)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// killEverything ends the supervisor and all containers and takes away what is
// volatile, as a power loss does.
func (e *engine) killEverything(t *testing.T) {
	t.Helper()
	must(syscall.Kill(e.supervisor(), syscall.SIGKILL))
	parent := e.args[slices.Index(e.args, "--cgroup-parent")+1]
	for pid := processesOf(parent + "/"); pid != ""; pid = processesOf(parent + "/") {
		n, _ := strconv.Atoi(pid)
		_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended
		time.Sleep(time.Millisecond)
	}
	must(testenv.RemoveCgroups(parent))
	must(os.RemoveAll(filepath.Join(e.dir, "exec")))
}

// TestRestartBackoff: the delay between restarts doubles, and begins anew after a
// run of ten seconds.
func TestRestartBackoff(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	// Five short runs, one of eleven seconds, then short ones.
	c.ok("run", "-d", "--name", "again", "--restart", "always", "busybox", "sh", "-c", `echo x >> /runs; [ $(wc -l < /runs) != 6 ] || sleep 10.5; exit 1`)
	c.until("nine runs", func(s string) bool { n, _ := strconv.Atoi(strings.TrimSpace(s)); return n >= 8 }, "inspect", "-f", "{{.RestartCount}}", "again")
	var ends, starts []time.Time
	events := c.ok("events", "--since", "5m", "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "container=again", "--format", "{{.Action}} {{.TimeNano}}")
	for line := range strings.Lines(events) {
		action, nano, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseInt(nano, 10, 64)
		switch action {
		case "die":
			ends = append(ends, time.Unix(0, n))
		case "start":
			starts = append(starts, time.Unix(0, n))
		}
	}
	if len(starts) < 8 || len(ends) < 7 {
		t.Fatalf("%d starts, %d ends:\n%s", len(starts), len(ends), events)
	}
	// The sixth run lasts: after it the first delay comes again. A machine may be
	// slow at starting, but not so much that it looks like no reset, which is 3.2 s.
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 100, 200} {
		want *= time.Millisecond
		if got := starts[i+1].Sub(ends[i]); got < want*9/10 || got > want+2900*time.Millisecond {
			t.Errorf("restart %d after %s, want %s", i+1, got, want)
		}
	}
	c.ok("rm", "-f", "again")
}

// TestRestartOnFailureCounts: a maximum of restarts holds over a restart of the
// daemon, and a good exit is no failure.
func TestRestartOnFailureCounts(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	c.ok("run", "-d", "--name", "fails", "--restart", "on-failure:4", "busybox", "sh", "-c", "echo run; exit 5")
	c.ok("run", "-d", "--name", "succeeds", "--restart", "on-failure:4", "busybox", "sh", "-c", "echo run")
	c.until("a restart", func(s string) bool { n, _ := strconv.Atoi(strings.TrimSpace(s)); return n >= 2 }, "inspect", "-f", "{{.RestartCount}}", "fails")
	e.crash(t)
	must(e.start())
	c.until("the end", func(s string) bool { return s == "exited 4 5\n" }, "inspect", "-f", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "fails")
	equal(t, "runs", c.ok("logs", "fails"), strings.TrimSuffix(strings.Repeat("run\n", 5), "\n"))
	equal(t, "success", c.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "succeeds"), "exited 0")
}

// TestShutdownIsQuick: a daemon ends within its time although clients follow
// logs, events and statistics, wait and are attached.
func TestShutdownIsQuick(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	c.ok("run", "-di", "--name", "busy", "probe", "probe", "tick")
	for _, args := range [][]string{{"logs", "-f", "busy"}, {"events"}, {"stats"}, {"wait", "busy"}, {"attach", "busy"}, {"exec", "busy", "probe", "tick"}} {
		c.start(args...)
	}
	c.until("the exec", func(s string) bool { return strings.Count(s, "probe tick") == 2 }, "top", "busy")
	start := time.Now()
	must(e.signal(syscall.SIGTERM))
	if d := time.Since(start); d > 14*time.Second {
		t.Errorf("the daemon took %s to end", d)
	}
	must(e.start())
	equal(t, "the container", c.ok("inspect", "-f", "{{.State.Status}}", "busy"), "running")
}
