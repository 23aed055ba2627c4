package e2e

import (
	"strings"
	"testing"
)

const detach = "\x10\x11" // ctrl-p ctrl-q

func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		p := c.startTTY(33, 101, "run", "-it", "--rm", "busybox", "sh")
		p.expect("# ")
		p.send("tty; stty size; echo $TERM\r")
		p.expect("/dev/pts/0\r\n")
		p.expect("33 101\r\n")
		p.expect("xterm\r\n")
		p.resize(44, 120)
		p.send("until [ \"$(stty size)\" = '44 120' ]; do :; done; echo resi''zed\r")
		p.nudge("resized\r\n")
		// The inner shell says so once it is in the foreground: a signal between
		// the outer one's fork and exec would be lost.
		p.send("sh -c \"echo star''ted; exec sleep 600\"\r")
		p.expect("started\r\n")
		p.send("\x03") // ctrl-c reaches the container's foreground process
		p.expect("# ")
		p.send("echo code $?\r")
		p.expect("code 130\r\n")
		p.send("exit 9\r")
		if code := p.wait(); code != 9 {
			t.Errorf("exit code %d, want 9", code)
		}
	})
}

func TestDetachAndAttach(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		p := c.startTTY(24, 80, "run", "-it", "--name", name, "busybox", "sh")
		p.expect("# ")
		p.send("A=kept\r")
		p.expect("# ")
		p.send(detach)
		if code := p.wait(); code != 0 {
			t.Errorf("detach ended with %d, want 0", code)
		}
		equal(t, "running", c.ok("inspect", "-f", "{{.State.Running}}", name), "true")
		q := c.startTTY(30, 90, "attach", name)
		q.send("echo a-$A; until [ \"$(stty size)\" = '30 90' ]; do :; done; echo si''ze\r")
		q.expect("a-kept\r\n")
		q.expect("size\r\n")
		q.send("exit 5\r")
		if code := q.wait(); code != 5 {
			t.Errorf("attach ended with %d, want the container's 5", code)
		}
	})
}

func TestOwnDetachKeys(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		p := c.startTTY(24, 80, "run", "-it", "--name", name, "--detach-keys", "ctrl-x,x", "busybox", "cat")
		p.send("\x10\x11one\r") // the usual keys are plain input now
		p.expect("one\r\n")
		p.send("\x18x")
		if code := p.wait(); code != 0 {
			t.Errorf("detach ended with %d, want 0", code)
		}
		equal(t, "running", c.ok("inspect", "-f", "{{.State.Running}}", name), "true")
	})
}

func TestAttachWithoutTerminal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "while read l; do echo out $l; echo err $l >&2; [ $l = end ] && exit 6; done")
		p := c.start("attach", name)
		p.send("one\nend\n")
		p.expect("out one\nout end\n")
		if code := p.wait(); code != 6 {
			t.Errorf("exit code %d, want 6", code)
		}
		equal(t, "stderr", p.errOut.String(), "err one\nerr end\n")
	})
}

// TestTwoAttached: both see the output, either can type.
func TestTwoAttached(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "-i", "--name", name, "busybox", "cat")
		p, q := c.start("attach", name), c.start("attach", name)
		// Each speaks once the other certainly listens: what it wrote has come back.
		p.send("from p\n")
		p.expect("from p\n")
		q.send("from q\n")
		p.expect("from q\n")
		q.expect("from q\n")
		c.ok("kill", name)
		if a, b := p.wait(), q.wait(); a != 137 || b != 137 {
			t.Errorf("exit codes %d and %d, want 137", a, b)
		}
	})
}

func TestAttachStopped(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("create", "--name", name, "busybox", "true")
		matches(t, "stderr", c.fails(1, "attach", name), "(?i)you cannot attach to a stopped container, start it first")
	})
}

func TestTTYNeeded(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		r := c.doIn(strings.NewReader(""), "run", "--rm", "-it", "busybox", "true")
		matches(t, "stderr", r.stderr, "the input device is not a TTY")
		if r.code != 1 {
			t.Errorf("exit code %d, want 1", r.code)
		}
	})
}

// TestTTYWithoutTerminal: -t alone works on pipes, and lines end in CR LF.
func TestTTYWithoutTerminal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		r := c.do("run", "--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2")
		equal(t, "stdout", r.stdout, "out\r\nerr\r\n")
		equal(t, "stderr", r.stderr, "")
	})
}
