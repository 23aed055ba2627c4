package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestLogs(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "--name", name, "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo out$i; done; sleep 0.2; echo err >&2; sleep 0.2; printf unfinished")
		all := "out1\nout2\nout3\nout4\nout5\nunfinished"
		r := c.do("logs", name)
		equal(t, "stdout", r.stdout, all)
		equal(t, "stderr", r.stderr, "err\n")
		equal(t, "tail", c.ok("logs", "--tail", "3", name), "out5\nunfinished")
		equal(t, "tail 0", c.ok("logs", "--tail", "0", name), "")
		equal(t, "tail of more than there is", c.ok("logs", "--tail", "100", name), all)
		equal(t, "followed to the end", c.ok("logs", "-f", name), all)
		for line := range strings.Lines(c.ok("logs", "-t", name)) {
			stamp, text, _ := strings.Cut(line, " ")
			if _, err := time.Parse("2006-01-02T15:04:05.000000000Z", stamp); err != nil || text == "" {
				t.Errorf("timestamped line %q: %v", line, err)
			}
		}
	})
}

func TestLogsSinceUntil(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "--name", name, "busybox", "sh", "-c", "echo one; sleep 1.1; echo two; sleep 1.1; echo three")
		var stamps []string
		for line := range strings.Lines(c.ok("logs", "-t", name)) {
			stamp, _, _ := strings.Cut(line, " ")
			stamps = append(stamps, stamp)
		}
		if len(stamps) != 3 {
			t.Fatalf("timestamps %q, want three", stamps)
		}
		equal(t, "since the second", c.ok("logs", "--since", stamps[1], name), "two\nthree")
		equal(t, "until the second", c.ok("logs", "--until", stamps[1], name), "one\ntwo")
		equal(t, "since an hour ago", c.ok("logs", "--since", "1h", name), "one\ntwo\nthree")
		equal(t, "since the future", c.ok("logs", "--since", "2099-01-01", name), "")
	})
}

func TestLogsFollow(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "echo first; while read l; do echo $l; done")
		c.until("first line", func(s string) bool { return s == "first\n" }, "logs", name)
		p := c.start("logs", "-f", name)
		p.expect("first\n")
		in := c.start("attach", name)
		in.send("second\n")
		p.expect("second\n")
		in.send("third\n")
		p.expect("third\n")
		c.ok("kill", name)
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}

func TestLogsOfManyLines(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")
		c.ok("wait", name)
		lines := strings.Split(c.ok("logs", name), "\n")
		if len(lines) != 5000 || lines[0] != "line 0" || lines[4999] != "line 4999" {
			t.Errorf("%d lines from %q to %q", len(lines), lines[0], lines[len(lines)-1])
		}
		equal(t, "tail", c.ok("logs", "--tail", "2", name), "line 4998\nline 4999")
	})
}

// TestLogsOfLongLine: a line longer than the log's buffers stays one line.
func TestLogsOfLongLine(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next")
		c.ok("wait", name)
		equal(t, "log", c.ok("logs", name), strings.Repeat("x", 100000)+"\nnext")
		equal(t, "tail", c.ok("logs", "--tail", "1", name), "next")
	})
}

func TestLogRotation(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "--log-opt", "max-size=10k", "--log-opt", "max-file=3", "busybox", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
		c.ok("wait", name)
		lines := strings.Split(c.ok("logs", name), "\n")
		if last := lines[len(lines)-1]; last != "line 1999" {
			t.Errorf("the last line is %q", last)
		}
		// Three files of 10 kB hold far less than 2,000 lines, and more than one file's worth.
		if len(lines) < 110 || len(lines) > 600 {
			t.Errorf("%d lines are left", len(lines))
		}
	})
}

func TestLogDriverNone(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		equal(t, "attached output", c.ok("run", "--name", name, "--log-driver", "none", "busybox", "echo", "seen"), "seen")
		matches(t, "logs", c.fails(1, "logs", name), "configured logging driver does not support reading")
	})
}

func TestLogsOfTerminal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "-t", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2")
		c.ok("wait", name)
		r := c.do("logs", name)
		equal(t, "stdout", r.stdout, "out\r\nerr\r\n")
		equal(t, "stderr", r.stderr, "")
	})
}
