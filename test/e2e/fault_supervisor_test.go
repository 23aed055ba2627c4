package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervisor gives the process ID of the daemon's supervisor, 0 if there is none.
func (e *engine) supervisor() int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(data), "supervise\x00--exec-root\x00"+e.dir+"/exec\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			return pid
		}
	}
	return 0
}

// killSupervisor kills the supervisor and waits until another one serves.
func (e *engine) killSupervisor(t *testing.T) {
	t.Helper()
	old := e.supervisor()
	if old == 0 {
		t.Fatal("there is no supervisor")
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if pid := e.supervisor(); pid != 0 && pid != old {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no new supervisor\n%s", e.logTail())
		}
	}
}

// TestSupervisorKilled: containers go on, and everything works with them as before.
func TestSupervisorKilled(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	ticking, shell, term, ends := c.container(), c.container(), c.container(), c.container()
	c.ok("run", "-d", "--name", ticking, "-p", "127.0.0.1::80", "probe", "probe", "tick")
	c.ok("run", "-d", "-i", "--name", shell, "busybox", "sh")
	c.ok("run", "-dit", "--name", term, "busybox", "sh")
	c.ok("run", "-d", "--name", ends, "busybox", "sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; echo bye; exit 77")
	half := c.container() // it has no standard output any more
	c.ok("run", "-d", "--name", half, "busybox", "sh", "-c", "exec >&-; while [ ! -e /end ]; do sleep 0.05; done; echo late >&2")
	pids := map[string]string{}
	for _, name := range []string{ticking, shell, term, ends} {
		pids[name] = c.ok("inspect", "-f", "{{.State.Pid}}", name)
	}
	e.killSupervisor(t)
	for name, pid := range pids {
		equal(t, "process", c.ok("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", name), "running "+pid)
	}
	equal(t, "exec", c.ok("exec", ticking, "echo", "works"), "works")
	matches(t, "stats", c.ok("stats", "--no-stream", "--format", "{{.PIDs}}", ticking), `^[1-9]`)
	for _, p := range []*process{c.start("attach", shell), c.startTTY(24, 80, "attach", term)} {
		p.send("echo ali''ve; exit 9\n")
		p.expect("alive")
		equal(t, "attach", fmt.Sprint(p.wait()), "9")
	}
	c.ok("exec", ends, "touch", "/end")
	equal(t, "exit code of the adopted", c.ok("wait", ends), "77")
	equal(t, "log", c.ok("logs", ends), "bye")
	e.crash(t)
	must(e.start()) // and parks what this supervisor has
	e.killSupervisor(t)
	c.ok("exec", half, "touch", "/end")
	equal(t, "exit code of the half one", c.ok("wait", half), "0")
	equal(t, "its standard error", c.do("logs", half).stderr, "late\n")
	c.ok("stop", "-t", "0", ticking)
	c.ok("start", ticking)
	equal(t, "a new container", c.ok("run", "--rm", "busybox", "echo", "works"), "works")
}

// TestSupervisorKilledLogsAreWhole: containers that write all the time lose no
// line, and have none twice, however often their supervisor is killed.
func TestSupervisorKilledLogsAreWhole(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	const count = 400000
	name := c.container()
	c.ok("run", "-d", "--name", name, "--log-opt", "max-size=1g", "busybox", "seq", strconv.Itoa(count))
	rotated := c.container()
	c.ok("run", "-d", "--name", rotated, "--log-opt", "max-size=1m", "--log-opt", "max-file=100", "busybox", "seq", strconv.Itoa(count))
	slow := c.container() // lines that come in two halves
	c.ok("run", "-d", "--name", slow, "busybox", "sh", "-c", "i=1; while [ $i -le 300 ]; do printf 'half '; usleep 3000; echo $i; i=$((i+1)); done")
	for c.ok("ps", "-q") != "" {
		e.killSupervisor(t)
		time.Sleep(100 * time.Millisecond)
	}
	for _, name := range []string{name, rotated} {
		if code := c.ok("wait", name); code != "0" && code != "255" {
			t.Errorf("exit code %s", code)
		}
		sequence(t, c.ok("logs", name), "", count)
	}
	sequence(t, c.ok("logs", slow), "half ", 300)
}

// sequence checks that a log has the lines from 1 to n, each once and in order.
func sequence(t *testing.T, log, prefix string, n int) {
	t.Helper()
	next := 1
	for line := range strings.Lines(log + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if line != prefix+strconv.Itoa(next) {
			t.Fatalf("after line %d of %d comes %.80q", next-1, n, line)
		}
		next++
	}
	if next != n+1 {
		t.Fatalf("%d lines, want %d", next-1, n)
	}
}

// TestSupervisorKilledWithExit: a container that ends while no supervisor is
// there has its exit code, or is honestly said to have an unknown one.
func TestSupervisorKilledWithExit(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	for _, pause := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		name := c.container()
		c.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "while [ ! -e /end ]; do usleep 1000; done; echo last; exit 42")
		pid := c.ok("inspect", "-f", "{{.State.Pid}}", name)
		if err := os.WriteFile("/proc/"+pid+"/root/end", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		e.killSupervisor(t)
		c.untilState(name, "exited")
		state := c.ok("inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", name)
		if state != "42 " && !strings.HasPrefix(state, "255 the exit code is unknown") {
			t.Errorf("ended after %s, state %q", pause, state)
		}
		equal(t, "log", c.ok("logs", name), "last")
		c.ok("rm", name)
	}
	nothingLeft(t, e)
}

// TestSupervisorKilledDuring kills the supervisor amid verbs. They may fail, but
// with a reason, and can be repeated; nothing is left half-done.
func TestSupervisorKilledDuring(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	for _, v := range brokenVerbs {
		if strings.HasPrefix(v.name, "cp") || v.name == "create" || v.name == "rm" {
			continue // the supervisor has no part in them
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			e := own(t, engineOptions{})
			c := one(t, e)
			const name = "victim"
			for round := range 6 {
				delay := time.Duration(round) * faultStep / 2
				v.prepare(c, name)
				done := make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
					defer cancel()
					done <- v.run(ctx, e, name)
				}()
				time.Sleep(delay)
				e.killSupervisor(t)
				if err := <-done; err != nil {
					t.Logf("killed after %s: %v", delay, err)
				}
				agreeSoon(t, e, "killed after "+delay.String())
				c.do("rm", "-f", "-v", name)
				equal(t, "run", c.ok("run", "--rm", "--name", name, "busybox", "echo", "again"), "again")
			}
			c.do("rmi", "-f", "faulty:x")
			nothingLeft(t, e)
		})
	}
}
