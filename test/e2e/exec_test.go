package e2e

import (
	"os"
	"strings"
	"testing"
)

func TestExec(t *testing.T) {
	for _, s := range []struct {
		name   string
		flags  []string
		args   []string
		stdin  string
		stdout string
		stderr string
		code   int
		old    int // dockerd 20.10's code where later versions changed it
	}{
		{name: "output", args: []string{"echo", "hello"}, stdout: "hello\n"},
		{name: "streams apart", args: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "^err$"},
		{name: "exit code", args: []string{"sh", "-c", "exit 23"}, code: 23},
		{name: "killed", args: []string{"sh", "-c", "kill -9 $$"}, code: 137},
		{name: "terminated", args: []string{"sh", "-c", "kill -15 $$"}, code: 143},
		{name: "stdin", flags: []string{"-i"}, args: []string{"cat"}, stdin: "hi\n", stdout: "hi\n"},
		{name: "user", flags: []string{"-u", "app"}, args: []string{"id", "-un"}, stdout: "app\n"},
		{name: "directory", flags: []string{"-w", "/etc"}, args: []string{"pwd"}, stdout: "/etc\n"},
		{name: "environment", flags: []string{"-e", "X=1", "-e", "FROM=exec"}, args: []string{"sh", "-c", "echo $X $FROM $KEPT"}, stdout: "1 exec kept\n"},
		{name: "terminal on pipes", flags: []string{"-t"}, args: []string{"tty"}, stdout: "/dev/pts/0\r\n"},
		{name: "privileged", flags: []string{"-u", "0"}, args: []string{"id", "-u"}, stdout: "0\n"},
		{name: "missing command", args: []string{"no-such-program"}, code: 127, old: 126,
			stderr: `OCI runtime exec failed: exec failed: .*exec: "no-such-program": executable file not found in \$PATH`},
		{name: "not executable", args: []string{"/etc/passwd"}, code: 126,
			stderr: `OCI runtime exec failed: exec failed: .*exec: "/etc/passwd": permission denied`},
		{name: "missing directory", flags: []string{"-w", "/no/such"}, args: []string{"true"}, code: 127, old: 126,
			stderr: `OCI runtime exec failed: exec failed: .*chdir to cwd \("/no/such"\).*no such file or directory`},
		{name: "file as directory", flags: []string{"-w", "/etc/passwd"}, args: []string{"true"}, code: 127, old: 126,
			stderr: `OCI runtime exec failed: exec failed: .*chdir to cwd \("/etc/passwd"\).*not a directory: unknown`},
		{name: "relative directory", flags: []string{"-w", "etc"}, args: []string{"true"}, code: 128, old: 126,
			stderr: `OCI runtime exec failed: exec failed: .*Cwd must be an absolute path`},
		{name: "unknown user", flags: []string{"-u", "nobody-here"}, args: []string{"true"}, code: 1, old: 126,
			stderr: `unable to find user nobody-here: no matching entries in passwd file$`},
		{name: "unknown group", flags: []string{"-u", "0:nobody-here"}, args: []string{"true"}, code: 1, old: 126,
			stderr: `unable to find group nobody-here: no matching entries in group file$`},
	} {
		t.Run(s.name, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				name := c.background("-e", "KEPT=kept")
				if c.e.kind == dockerEngine && s.old != 0 {
					s.code = s.old
				}
				r := c.doIn(strings.NewReader(s.stdin), append(append(append([]string{"exec"}, s.flags...), name), s.args...)...)
				if r.code != s.code {
					t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, s.code, r.stdout, r.stderr)
				}
				switch {
				case s.code == 126 || s.code == 127 || s.code == 128: // a runtime's message goes to either stream, by version
					matches(t, "output", message(r.stderr)+r.stdout, s.stderr)
				case s.stderr == "":
					equal(t, "stdout", r.stdout, s.stdout)
					equal(t, "stderr", r.stderr, "")
				default:
					equal(t, "stdout", r.stdout, s.stdout)
					matches(t, "stderr", message(r.stderr), s.stderr)
				}
			})
		})
	}
}

// TestExecGroups: the groups that the container was given are its execs', too.
func TestExecGroups(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		if c.e.kind == dockerEngine && os.Getenv("E2E_DOCKERD") == "" {
			t.Skip("needs a dockerd of today: E2E_DOCKERD names one")
		}
		name := c.background("--group-add", "4242")
		equal(t, "the container's user", c.ok("exec", name, "id", "-G"), "0 4242")
		equal(t, "another user", c.ok("exec", "-u", "12345:54321", name, "id", "-G"), "54321 4242")
		equal(t, "the largest number", c.ok("exec", "-u", "2147483647:2147483647", name, "id", "-G"), "2147483647 4242")
	})
}

// TestExecUserOfTheContainersFiles: users are looked up where the container has
// them now, and nowhere else.
func TestExecUserOfTheContainersFiles(t *testing.T) {
	needEngine(t, gantryEngine) // dockerd waits for a FIFO
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		c.ok("exec", name, "sh", "-c", "echo new:x:4711:4712::/home/new:/bin/sh >> /etc/passwd")
		equal(t, "a new user", c.ok("exec", "-u", "new", name, "id"), "uid=4711(new) gid=4712 groups=4712")
		for _, evil := range []string{"mkfifo /etc/passwd", "mkdir /etc/passwd", "ln -s /dev/zero /etc/passwd", "ln -s /proc/1/root/etc/passwd /etc/passwd"} {
			name := c.background()
			c.ok("exec", name, "sh", "-c", "rm /etc/passwd; "+evil)
			matches(t, evil, c.fails(1, "exec", "-u", "nobody-here", name, "true"), `not a regular file|too many levels of symbolic links|no matching entries`)
		}
	})
}

func TestExecTerminal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		p := c.startTTY(20, 70, "exec", "-it", name, "sh")
		p.expect("# ")
		p.send("until [ \"$(stty size)\" = '20 70' ]; do :; done; echo si''ze\r")
		p.expect("size\r\n")
		p.resize(21, 71)
		p.send("until [ \"$(stty size)\" = '21 71' ]; do :; done; echo aga''in\r")
		p.nudge("again\r\n")
		p.send("exit 8\r")
		if code := p.wait(); code != 8 {
			t.Errorf("exit code %d, want 8", code)
		}
	})
}

func TestExecDetached(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		equal(t, "stdout", c.ok("exec", "-d", name, "sh", "-c", "echo made > /tmp/by-exec"), "")
		c.until("file", func(s string) bool { return s == "made\n" }, "exec", name, "cat", "/tmp/by-exec")
	})
}

func TestExecInStopped(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		id := c.ok("create", "--name", name, "busybox", "true")
		matches(t, "stderr", c.fails(1, "exec", name, "true"), `[Cc]ontainer (`+id+`|`+name+`) is not running`)
	})
}

// TestExecEndsWithContainer: an exec whose container dies ends too.
func TestExecEndsWithContainer(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		p := c.start("exec", name, "sh", "-c", "echo ready; sleep 600")
		p.expect("ready\n")
		c.ok("kill", name)
		if code := p.wait(); code != 137 {
			t.Errorf("exit code %d, want 137", code)
		}
	})
}

func TestExecSharesNamespaces(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background("--hostname", "shared")
		equal(t, "hostname", c.ok("exec", name, "hostname"), "shared")
		for _, ns := range []string{"pid", "net", "mnt", "ipc", "uts", "cgroup"} {
			equal(t, ns, c.ok("exec", name, "readlink", "/proc/self/ns/"+ns), c.ok("exec", name, "readlink", "/proc/1/ns/"+ns))
		}
	})
}
