package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "--health-cmd", "test -e /tmp/healthy", "--health-interval", "200ms", "--health-retries", "1", "busybox", "sleep", "600")
		c.until("unhealthy", func(s string) bool { return s == "unhealthy\n" }, "inspect", "-f", "{{.State.Health.Status}}", name)
		c.ok("exec", name, "touch", "/tmp/healthy")
		c.until("healthy", func(s string) bool { return s == "healthy\n" }, "inspect", "-f", "{{.State.Health.Status}}", name)
		matches(t, "ps", c.ok("ps", "--filter", "name="+name, "--format", "{{.Status}}"), `\(healthy\)$`)
	})
}

// healthState is what inspect shows of a health check.
type healthState struct {
	State struct {
		Running   bool
		StartedAt time.Time
		Health    *struct {
			Status        string
			FailingStreak int
			Log           []struct {
				Start, End time.Time
				ExitCode   int
				Output     string
			}
		}
	}
	RestartCount int
}

// health waits for a status and gives all of it.
func (c *cli) health(name, status string) healthState {
	c.t.Helper()
	c.until(status, func(s string) bool { return strings.TrimSpace(s) == status }, "inspect", "-f", "{{.State.Health.Status}}", name)
	var h healthState
	c.inspect(&h, name)
	return h
}

func TestHealthOptions(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		check := func(flags ...string) string {
			return c.background(append([]string{"--health-interval", "200ms", "--health-retries", "1"}, flags...)...)
		}
		talkative := check("--health-cmd", "yes | head -c 10000; exit 3")
		late := check("--health-cmd", "echo so far; sleep 1234 & sleep 1234", "--health-timeout", "500ms")
		patient := check("--health-cmd", "exit 1", "--health-start-period", "1h")
		matches(t, "starting", c.ok("ps", "-f", "name="+patient, "--format", "{{.Status}}"), `\(health: starting\)$`)

		h := c.health(talkative, "unhealthy").State.Health
		if r := h.Log[0]; r.ExitCode != 3 || r.Output != strings.Repeat("y\n", 2048)+"..." || !r.End.After(r.Start) {
			t.Errorf("%d bytes of output, exit code %d, from %s to %s", len(r.Output), r.ExitCode, r.Start, r.End)
		}
		matches(t, "unhealthy", c.ok("ps", "-f", "name="+talkative, "--format", "{{.Status}}"), `\(unhealthy\)$`)
		equal(t, "filter", c.ok("ps", "-f", "health=unhealthy", "-f", "name="+talkative, "--format", "{{.Names}}"), talkative)

		h = c.health(late, "unhealthy").State.Health
		if r := h.Log[0]; r.ExitCode != -1 || r.Output != "Health check exceeded timeout (500ms): so far\n" && engineKind() == gantryEngine {
			t.Errorf("exit code %d, output %q", r.ExitCode, r.Output) // a loaded Docker may not come to the output
		}

		c.until("five results", func(s string) bool { return strings.TrimSpace(s) == "5" }, "inspect", "-f", "{{len .State.Health.Log}}", talkative)
		time.Sleep(500 * time.Millisecond)
		equal(t, "results kept", c.ok("inspect", "-f", "{{len .State.Health.Log}}", talkative), "5")

		if h := c.health(patient, "starting").State.Health; h.FailingStreak != 0 {
			t.Errorf("failing streak %d in the start period", h.FailingStreak)
		}
		c.ok("kill", talkative)
		equal(t, "after the end", c.ok("inspect", "-f", "{{.State.Health.Status}}", talkative), "unhealthy")

		none := c.container()
		c.ok("run", "-d", "--name", none, "--no-healthcheck", "app", "sleep", "600")
		equal(t, "no health check", c.ok("inspect", "-f", "{{.Config.Healthcheck.Test}} {{.State.Health}}", none), "[NONE] <nil>")
		own := c.container()
		c.ok("run", "-d", "--name", own, "--health-retries", "7", "app", "sleep", "600")
		equal(t, "merged", c.ok("inspect", "-f", "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}", own), "[CMD-SHELL test -e /tmp/healthy] 1s 7")
		matches(t, "too short", c.fails(125, "run", "--health-cmd", "true", "--health-interval", "1us", "busybox", "true"), `Interval in Healthcheck cannot be less than 1ms`)
	})
}

// TestHealthTimeoutEndsAll: what a check that took too long has started goes with it.
func TestHealthTimeoutEndsAll(t *testing.T) {
	needEngine(t, gantryEngine) // Docker leaves it
	t.Parallel()
	c := one(t, world.engine)
	name := c.background("--health-cmd", "sleep 4321 & sleep 4321", "--health-interval", "50ms", "--health-timeout", "300ms", "--health-retries", "1")
	c.health(name, "unhealthy")
	c.ok("pause", name) // no further check
	time.Sleep(500 * time.Millisecond)
	if out := c.ok("top", name); strings.Contains(out, "4321") {
		t.Errorf("left over:\n%s", out)
	}
	c.ok("unpause", name)
}

func TestHealthEvents(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		since := fmt.Sprint(time.Now().Unix())
		name := c.background("--health-cmd", "exit 2", "--health-interval", "300ms", "--health-retries", "2")
		c.health(name, "unhealthy")
		out := c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "-f", "container="+name, "--format", "{{.Action}}")
		probe := "exec_create: /bin/sh -c exit 2\nexec_start: /bin/sh -c exit 2\nexec_die\n"
		if !strings.Contains(out, "start\n"+probe+probe+"health_status: unhealthy") {
			t.Errorf("%s", out)
		}
		only := c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "-f", "container="+name, "-f", "event=health_status", "--format", "{{.Action}}")
		equal(t, "filtered", only, "health_status: unhealthy")
	})
}

// TestHealthSurvivesDaemon: what is known about a container stays known when the
// daemon is killed, and the checks go on in their rhythm.
func TestHealthSurvivesDaemon(t *testing.T) {
	needEngine(t, gantryEngine) // Docker begins anew
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	good := c.background("--health-cmd", "echo fine", "--health-interval", "300ms", "--health-start-period", "1h")
	bad := c.background("--health-cmd", "echo wrong; test -e /mended", "--health-interval", "300ms", "--health-retries", "3")
	over := c.background("--health-cmd", "true", "--health-interval", "300ms")
	c.health(good, "healthy")
	c.health(over, "healthy")
	c.ok("kill", over)
	before := c.health(bad, "unhealthy")

	e.crash(t)
	time.Sleep(400 * time.Millisecond)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	var h healthState
	c.inspect(&h, good)
	if h.State.Health.Status != "healthy" || len(h.State.Health.Log) == 0 || h.State.Health.Log[0].Output != "fine\n" {
		t.Errorf("%+v", h.State.Health)
	}
	c.inspect(&h, bad)
	if now := h.State.Health; now.Status != "unhealthy" || now.FailingStreak < before.State.Health.FailingStreak || len(now.Log) < 3 {
		t.Errorf("before %+v, after %+v", before.State.Health, now)
	}
	equal(t, "ended container", c.ok("inspect", "-f", "{{.State.Health.Status}} {{(index .State.Health.Log 0).ExitCode}}", over), "unhealthy 0")
	c.ok("exec", bad, "touch", "/mended") // the checks go on
	c.health(bad, "healthy")
	// A new run is a new start.
	c.ok("restart", "-t", "0", bad)
	e.crash(t)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	c.health(bad, "healthy")
}

func TestHealthOnFailure(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	c := one(t, world.engine)
	sick := func(action string, flags ...string) string {
		name := c.container()
		args := append([]string{"run", "-d", "--name", name, "--health-on-failure", action, "--health-cmd", "test ! -e /sick", "--health-interval", "100ms", "--health-retries", "1"}, flags...)
		c.ok(append(args, "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done")...)
		c.health(name, "healthy")
		c.ok("exec", name, "touch", "/sick")
		return name
	}
	actions := func(name, since string) string {
		out := c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "-f", "container="+name, "--format", "{{.Action}}")
		var kept []string
		for _, a := range strings.Split(out, "\n") {
			if !strings.HasPrefix(a, "exec_") {
				kept = append(kept, a)
			}
		}
		return strings.Join(kept, " ")
	}
	since := fmt.Sprint(time.Now().Unix())
	t.Run("none", func(t *testing.T) {
		if h := c.health(sick("none"), "unhealthy"); !h.State.Running {
			t.Error("it does not run")
		}
	})
	t.Run("kill", func(t *testing.T) {
		name := sick("kill")
		equal(t, "exit code", c.ok("wait", name), "137")
		equal(t, "events", actions(name, since), "create start health_status: healthy health_status: unhealthy kill die")
	})
	t.Run("kill with a restart policy", func(t *testing.T) {
		name := sick("kill", "--restart", "on-failure:1")
		c.until("another run", func(s string) bool { return s == "1\n" }, "inspect", "-f", "{{.RestartCount}}", name)
		c.untilState(name, "exited") // it was still sick, and the policy allows one restart
		equal(t, "exit code", c.ok("inspect", "-f", "{{.State.ExitCode}}", name), "137")
	})
	t.Run("stop", func(t *testing.T) {
		name := sick("stop", "--restart", "always")
		equal(t, "exit code", c.ok("wait", name), "5")
		c.untilState(name, "exited")
		time.Sleep(300 * time.Millisecond)
		equal(t, "stays down", c.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name), "exited 0")
		equal(t, "events", actions(name, since), "create start health_status: healthy health_status: unhealthy kill die stop")
	})
	t.Run("restart", func(t *testing.T) {
		name := sick("restart")
		c.until("another run", func(s string) bool { return s == "1\n" }, "inspect", "-f", "{{.RestartCount}}", name)
		c.until("running", func(s string) bool { return s == "running\n" }, "inspect", "-f", "{{.State.Status}}", name)
		cured := func(s string) bool { return s == "cured\n" } // it may be killed meanwhile, and come back
		c.until("cure", cured, "exec", name, "sh", "-c", "rm -f /sick && echo cured")
		c.health(name, "healthy")
		matches(t, "events", actions(name, since), `^create start health_status: healthy health_status: unhealthy kill die start restart`)
	})
	t.Run("restart waits longer each time", func(t *testing.T) {
		name := sick("restart")
		began := time.Now()
		c.until("runs", func(s string) bool { return s == "4\n" }, "inspect", "-f", "{{.RestartCount}}", name)
		if took := time.Since(began); took < 700*time.Millisecond { // 0.1 + 0.2 + 0.4 s
			t.Errorf("three more runs within %s", took)
		}
		c.ok("stop", "-t", "0", name)
		time.Sleep(1500 * time.Millisecond)
		equal(t, "stopped by the user", c.ok("inspect", "-f", "{{.State.Status}}", name), "exited")
	})
	t.Run("update", func(t *testing.T) {
		name := sick("none")
		c.health(name, "unhealthy")
		c.ok("update", "--health-on-failure", "kill", name)
		equal(t, "exit code", c.ok("wait", name), "137")
	})
	t.Run("without a check", func(t *testing.T) {
		matches(t, "message", c.fails(125, "run", "--health-on-failure", "kill", "busybox", "true"), "cannot set on-failure action to kill without a health check")
		matches(t, "message", c.fails(125, "run", "--health-cmd", "true", "--health-on-failure", "dance", "busybox", "true"), `invalid on-failure action "dance"`)
	})
}

// TestHealthRestartSurvivesDaemon: a restart that has begun is finished by the next
// daemon.
func TestHealthRestartSurvivesDaemon(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	name := c.container()
	c.ok("run", "-d", "--name", name, "--health-on-failure", "restart", "--health-cmd", "test ! -e /sick", "--health-interval", "100ms", "--health-retries", "1",
		"--stop-timeout", "600", "busybox", "sh", "-c", "trap 'while [ ! -e /go ]; do sleep 0.05; done; rm /sick /go; exit 0' TERM; touch /sick; while :; do sleep 0.05; done")
	since := fmt.Sprint(time.Now().Unix())
	c.health(name, "unhealthy")
	c.until("the stop", func(s string) bool { return strings.Contains(s, "kill") }, "events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "-f", "container="+name, "-f", "event=kill", "--format", "{{.Action}}")
	pid := c.ok("inspect", "-f", "{{.State.Pid}}", name)
	e.crash(t)
	if err := os.WriteFile("/proc/"+pid+"/root/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	c.until("another run", func(s string) bool { return s == "1\n" }, "inspect", "-f", "{{.RestartCount}}", name)
}

// TestHealthSurvivesSupervisor: checks go on when the process that has prepared them
// has been replaced.
func TestHealthSurvivesSupervisor(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	name := c.background("--health-cmd", "test ! -e /sick", "--health-interval", "200ms", "--health-retries", "2")
	c.health(name, "healthy")
	e.killSupervisor(t)
	c.ok("exec", name, "touch", "/sick")
	c.health(name, "unhealthy")
	c.ok("exec", name, "rm", "/sick")
	c.health(name, "healthy")
}
