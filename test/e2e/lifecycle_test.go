package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestStop(t *testing.T) {
	t.Run("SIGTERM ends it", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.container()
			c.ok("run", "-d", "--name", name, "probe", "probe", "signals")
			c.until("ready", func(s string) bool { return s == "ready\n" }, "logs", name)
			equal(t, "stdout", c.ok("stop", name), name)
			equal(t, "log", c.ok("logs", name), "ready\ngot SIGTERM")
			equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name), "exited 0")
		})
	})
	t.Run("SIGKILL after the timeout", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.background("--stop-timeout", "600") // sleep as process 1 ignores SIGTERM
			start := time.Now()
			c.ok("stop", "-t", "1", name)
			if d := time.Since(start); d < time.Second || d > time.Minute {
				t.Errorf("stop -t 1 took %s", d)
			}
			equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name), "exited 137")
		})
	})
	t.Run("stop signal of the image", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.container()
			c.ok("run", "-d", "--name", name, "app", "exec", "sh", "-c", "trap 'echo quit; exit 5' QUIT; echo ready; while :; do sleep 0.05; done")
			c.until("ready", func(s string) bool { return s == "ready\n" }, "logs", name)
			c.ok("stop", name)
			equal(t, "log", c.ok("logs", name), "ready\nquit")
			equal(t, "exit code", c.ok("inspect", "-f", "{{.State.ExitCode}}", name), "5")
		})
	})
	t.Run("twice", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.background()
			c.ok("stop", "-t", "0", name)
			equal(t, "stdout", c.ok("stop", name), name)
		})
	})
	t.Run("several", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			a, b := c.background(), c.background()
			equal(t, "stdout", c.ok("stop", "-t", "0", a, b), a+"\n"+b)
		})
	})
}

func TestKill(t *testing.T) {
	t.Run("default", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.background()
			equal(t, "stdout", c.ok("kill", name), name)
			equal(t, "wait", c.ok("wait", name), "137")
		})
	})
	t.Run("named signals", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.container()
			c.ok("run", "-d", "--name", name, "probe", "probe", "signals")
			log := func(want string) {
				c.until(want, func(s string) bool { return s == want }, "logs", name)
			}
			log("ready\n")
			c.ok("kill", "-s", "HUP", name)
			log("ready\ngot SIGHUP\n")
			c.ok("kill", "--signal", "SIGUSR1", name)
			log("ready\ngot SIGHUP\ngot SIGUSR1\n")
			c.ok("kill", "-s", "12", name)
			log("ready\ngot SIGHUP\ngot SIGUSR1\ngot SIGUSR2\n")
			c.ok("kill", "-s", "term", name)
			equal(t, "wait", c.ok("wait", name), "0")
		})
	})
	t.Run("not running", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.container()
			id := c.ok("create", "--name", name, "busybox", "true")
			matches(t, "stderr", c.fails(1, "kill", name), fmt.Sprintf(`[Cc]annot kill container: (%s|%s): [Cc]ontainer %s is not running`, name, id, id))
		})
	})
	t.Run("bad signal", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			name := c.background()
			matches(t, "stderr", c.fails(1, "kill", "-s", "NOSUCH", name), `[Ii]nvalid signal: NOSUCH`)
			equal(t, "state", c.ok("inspect", "-f", "{{.State.Running}}", name), "true")
		})
	})
}

func TestRestart(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "echo start; sleep 600")
		before := c.ok("inspect", "-f", "{{.State.Pid}}", name)
		equal(t, "stdout", c.ok("restart", "-t", "0", name), name)
		after := c.ok("inspect", "-f", "{{.State.Pid}} {{.State.Running}} {{.RestartCount}}", name)
		if pid, rest, _ := strings.Cut(after, " "); pid == before || rest != "true 0" {
			t.Errorf("state %q before, %q after", before, after)
		}
		c.until("second start", func(s string) bool { return s == "start\nstart\n" }, "logs", name)
	})
}

func TestRestartPolicy(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3")
		c.until("last restart", func(s string) bool { return s == "exited 2 3\n" }, "inspect", "-f", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", name)
		equal(t, "log", c.ok("logs", name), "run\nrun\nrun")
	})
}

func TestWait(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		a, b := c.container(), c.container()
		c.ok("run", "-d", "--name", a, "busybox", "sh", "-c", "sleep 0.3; exit 4")
		c.ok("run", "-d", "--name", b, "busybox", "sh", "-c", "exit 143")
		equal(t, "stdout", c.ok("wait", a, b), "4\n143")
		equal(t, "once more", c.ok("wait", a), "4")
	})
}

func TestRemove(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		id := c.ok("inspect", "-f", "{{.Id}}", name)
		got := c.fails(1, "rm", name)
		// Docker 27 shortened the sentence.
		matches(t, "running", got, fmt.Sprintf(`(You cannot remove a running container %s\. Stop the container before attempting removal or force remove|cannot remove container "(/?%s)": container is running: stop the container before removing or force remove)`, id, name))
		equal(t, "stdout", c.ok("rm", "-f", name), name)
		matches(t, "gone", c.fails(1, "inspect", name), "No such object: "+name)
		prefix := short(c.ok("create", "busybox", "true"))
		equal(t, "by ID prefix", c.ok("rm", prefix), prefix)
	})
}

func TestNoSuchContainer(t *testing.T) {
	for _, args := range [][]string{
		{"start"}, {"stop"}, {"kill"}, {"restart"}, {"wait"}, {"rm"}, {"logs"}, {"attach"}, {"pause"}, {"unpause"}, {"top"}, {"port"}, {"diff"},
	} {
		t.Run(args[0], func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				matches(t, "stderr", c.fails(1, append(args, "no-such-container")...), `(Error response from daemon: |Error: )([Cc]annot kill container: no-such-container: )?No such container: no-such-container`)
			})
		})
	}
	t.Run("exec", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			matches(t, "stderr", c.fails(1, "exec", "no-such-container", "true"), `No such container: no-such-container`)
		})
	})
	t.Run("rm -f", func(t *testing.T) {
		each(t, func(t *testing.T, c *cli) {
			// 20.10 fails, newer clients accept that the work is done already.
			r := c.do("rm", "-f", "no-such-container")
			matches(t, "stderr", r.stderr, `No such container: no-such-container`)
		})
	})
}

func TestPause(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "probe", "probe", "tick")
		c.ok("pause", name)
		equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.Paused}}", name), "paused true")
		matches(t, "ps", c.ok("ps", "--filter", "name="+name, "--format", "{{.Status}}"), `^Up .* \(Paused\)$`)
		first := c.ok("logs", name)
		time.Sleep(200 * time.Millisecond) // the time in which it must not go on
		equal(t, "log while paused", c.ok("logs", name), first)
		matches(t, "exec", c.fails(1, "exec", name, "true"), `Container (`+name+`|[0-9a-f]{64}) is paused, unpause the container before exec`)
		c.ok("unpause", name)
		c.until("more output", func(s string) bool { return len(s) > len(first)+1 }, "logs", name)
	})
}

// TestPauseThatFails pauses a container with a process that cannot be frozen: it
// runs on, and the daemon knows it.
func TestPauseThatFails(t *testing.T) {
	t.Parallel()
	c := one(t, world.engine)
	name, dir := c.container(), t.TempDir()
	hangs := testenv.HangingDir(t, dir)
	c.ok("run", "-d", "--name", name, "-v", dir+":/hang", "busybox", "sh", "-c", "cat /hang/file & while :; do sleep 1; done")
	<-hangs
	matches(t, "pause", c.fails(1, "pause", name), "cannot pause container .*uninterruptible sleep")
	equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.Paused}}", name), "running false")
	equal(t, "exec", c.ok("exec", name, "echo", "runs"), "runs")
	matches(t, "unpause", c.fails(1, "unpause", name), "is not paused")
}

func TestRename(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		old, renamed := c.container(), c.container()
		c.ok("create", "--name", old, "busybox", "true")
		c.ok("rename", old, renamed)
		equal(t, "name", c.ok("inspect", "-f", "{{.Name}}", renamed), "/"+renamed)
		matches(t, "old name", c.fails(1, "inspect", old), "No such object")
	})
}

func TestTop(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		lines := strings.Split(c.ok("top", name), "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "UID") || !strings.HasSuffix(strings.TrimSpace(lines[1]), "sleep 600") {
			t.Errorf("top gives %q", lines)
		}
	})
}

// TestSignalForwarding sends signals to the client of an attached run: they
// reach the container, and the client ends with the container's code.
func TestSignalForwarding(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		p := c.start("run", "--rm", "probe", "probe", "signals")
		p.expect("ready\n")
		for _, name := range []string{"SIGHUP", "SIGUSR1", "SIGINT", "SIGTERM"} {
			p.signal(name)
			p.expect("got " + name + "\n")
		}
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d, want the container's 0", code)
		}
	})
}

func TestUnhandledSIGTERM(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		p := c.start("run", "--rm", "--init", "busybox", "sh", "-c", "echo ready; exec sleep 600")
		p.expect("ready\n")
		p.signal("SIGTERM")
		if code := p.wait(); code != 143 {
			t.Errorf("exit code %d, want 143", code)
		}
	})
}

// TestClientKilledLeavesContainer: a client that dies does not take the
// container along.
func TestClientKilledLeavesContainer(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		p := c.start("run", "--name", name, "busybox", "sh", "-c", "echo ready; exec sleep 600")
		p.expect("ready\n")
		p.signal("SIGKILL")
		p.wait()
		equal(t, "running", c.ok("inspect", "-f", "{{.State.Running}}", name), "true")
	})
}
