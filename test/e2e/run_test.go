package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestRun is the table of single commands: what they print and how they end.
func TestRun(t *testing.T) {
	for _, s := range []struct {
		name   string
		args   []string // after "run --rm"
		stdin  string
		stdout string
		stderr string // pattern; empty: nothing
		code   int
		needs  []testenv.Feature // of dockerd only: Gantry works without
	}{
		{name: "output", args: []string{"busybox", "echo", "hello"}, stdout: "hello\n"},
		{name: "streams apart", args: []string{"busybox", "sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "^err$"},
		{name: "image command", args: []string{"-i", "busybox"}, stdin: "echo from sh\n", stdout: "from sh\n"},
		{name: "exit code", args: []string{"busybox", "sh", "-c", "exit 42"}, code: 42},
		{name: "exit code 1", args: []string{"busybox", "false"}, code: 1},
		{name: "killed child", args: []string{"busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, code: 137, stderr: "Killed"},
		{name: "missing command", args: []string{"busybox", "no-such-program"}, code: 127,
			stderr: `Error response from daemon: .*exec: "no-such-program": executable file not found in \$PATH`},
		{name: "missing path", args: []string{"busybox", "/no/such/file"}, code: 127,
			stderr: `Error response from daemon: .*(exec: "/no/such/file": stat /no/such/file|/no/such/file): no such file or directory`},
		{name: "directory as command", args: []string{"busybox", "/etc"}, code: 126,
			stderr: `Error response from daemon: .*exec: "/etc": .*(permission denied|is a directory)`},
		{name: "not executable", args: []string{"busybox", "/etc/passwd"}, code: 126,
			stderr: `Error response from daemon: .*exec: "/etc/passwd": permission denied`},
		{name: "environment", args: []string{"-e", "A=1", "-e", "B=two words", "-e", "C=", "busybox", "sh", "-c", `echo "$A|$B|${C-unset}"`}, stdout: "1|two words|\n"},
		{name: "standard environment", args: []string{"--hostname", "box", "busybox", "env"},
			stdout: "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOSTNAME=box\nHOME=/root\n"},
		{name: "working directory", args: []string{"-w", "/var/www", "busybox", "pwd"}, stdout: "/var/www\n"},
		{name: "working directory is made", args: []string{"-w", "/made/here", "busybox", "pwd"}, stdout: "/made/here\n"},
		{name: "user by name", args: []string{"-u", "app", "busybox", "id"}, stdout: "uid=1000(app) gid=1000(app) groups=10(wheel),1000(app),1001(extra)\n"},
		{name: "user by number", args: []string{"-u", "12345", "busybox", "id"}, stdout: "uid=12345 gid=0(root) groups=0(root)\n"},
		{name: "user and group", args: []string{"-u", "12345:54321", "busybox", "id"}, stdout: "uid=12345 gid=54321 groups=54321\n"},
		{name: "home of a user", args: []string{"-u", "app", "busybox", "sh", "-c", "echo $HOME"}, stdout: "/home/app\n"},
		{name: "unknown user", args: []string{"-u", "nobody-here", "busybox", "true"}, code: 125,
			stderr: `^Error response from daemon: unable to find user nobody-here: no matching entries in passwd file`},
		{name: "unknown group", args: []string{"-u", "0:nobody-here", "busybox", "true"}, code: 125,
			stderr: `^Error response from daemon: unable to find group nobody-here: no matching entries in group file`},
		{name: "extra group", args: []string{"--group-add", "4242", "-u", "12345:54321", "busybox", "id", "-G"}, stdout: "54321 4242\n"},
		{name: "entrypoint", args: []string{"--entrypoint", "echo", "busybox", "from", "entrypoint"}, stdout: "from entrypoint\n"},
		{name: "image entrypoint and command", args: []string{"app"}, stdout: "args: default arguments\nuser: 1000:1000\ndir: /srv/app\nenv: hello from the image\n"},
		{name: "image entrypoint with arguments", args: []string{"app", "other"}, stdout: "args: other\nuser: 1000:1000\ndir: /srv/app\nenv: hello from the image\n"},
		{name: "entrypoint clears the command", args: []string{"--entrypoint", "/bin/pwd", "app"}, stdout: "/srv/app\n"},
		{name: "empty entrypoint", args: []string{"--entrypoint", "", "app", "echo", "plain"}, stdout: "plain\n"},
		{name: "hostname", args: []string{"--hostname", "box", "busybox", "sh", "-c", "hostname; cat /etc/hostname"}, stdout: "box\nbox\n"},
		{name: "stdin", args: []string{"-i", "busybox", "cat"}, stdin: "hi\n", stdout: "hi\n"},
		{name: "stdin is closed without -i", args: []string{"busybox", "cat"}, stdin: "hi\n"},
		{name: "stdin ends before output", args: []string{"-i", "busybox", "sh", "-c", "cat >/dev/null; echo end"}, stdin: strings.Repeat("x", 100000), stdout: "end\n"},
		{name: "last line without newline", args: []string{"busybox", "printf", "a\\nb"}, stdout: "a\nb"},
		{name: "no output", args: []string{"busybox", "true"}},
		{name: "layers", args: []string{"layered", "sh", "-c", "cd /layers; find . | sort; cat keep changed opaque/new turned/file"},
			stdout: ".\n./changed\n./keep\n./opaque\n./opaque/new\n./turned\n./turned/file\nbottom\ntop\ntop\ntop\n"},
		{name: "read-only root", args: []string{"--read-only", "busybox", "touch", "/file"}, code: 1, stderr: "Read-only file system"},
		{name: "init", args: []string{"--init", "busybox", "sh", "-c", "cat /proc/1/comm"}, stdout: "docker-init\n"},
		{name: "pid 1", args: []string{"busybox", "sh", "-c", "echo $$"}, stdout: "1\n"},
		{name: "signalled shell", args: []string{"busybox", "sh", "-c", "kill -15 1; sleep 0; echo alive"}, stdout: "alive\n"},
		{name: "ulimit", args: []string{"--ulimit", "nofile=512:512", "busybox", "sh", "-c", "ulimit -n"}, stdout: "512\n"},
		{name: "shm size", args: []string{"--shm-size", "8m", "busybox", "sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'"}, stdout: "8192\n"},
		{name: "tmpfs", args: []string{"--tmpfs", "/scratch:size=1m", "busybox", "sh", "-c", "grep ' /scratch ' /proc/mounts | cut -d' ' -f3"}, stdout: "tmpfs\n"},
		{name: "add host without a network", args: []string{"--network", "none", "--add-host", "up:host-gateway", "busybox", "sh", "-c", "grep -c '^10[.].*up$' /etc/hosts"}, stdout: "1\n"},
		{name: "own names", args: []string{"-h", "a.b.example", "--add-host", "other:192.0.2.7", "busybox", "sh", "-c", "tail -n 2 /etc/hosts | cut -f2"}, stdout: "other\na.b.example a\n"},
		{name: "add host", args: []string{"--add-host", "db.example:192.0.2.7", "busybox", "sh", "-c", "grep db.example /etc/hosts | tr '\\t' ' '"}, stdout: "192.0.2.7 db.example\n"},
		{name: "dns", args: []string{"--dns", "192.0.2.53", "--dns-search", "corp.example", "busybox", "sh", "-c", "grep -v '^#' /etc/resolv.conf | grep -E 'nameserver|search'"}, stdout: "search corp.example\nnameserver 192.0.2.53\n"},
		{name: "sysctl", args: []string{"--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}, stdout: "77\n"},
		{name: "memory limit", args: []string{"-m", "64m", "busybox", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"}, stdout: "67108864\n"},
		{name: "pids limit", args: []string{"--pids-limit", "50", "busybox", "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true"}, stdout: "50\n"},
		{name: "privileged", needs: []testenv.Feature{testenv.SysResource}, args: []string{"--privileged", "busybox", "sh", "-c", "mount -t tmpfs none /tmp && echo mounted"}, stdout: "mounted\n"},
		{name: "added capability", args: []string{"--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined", "busybox", "sh", "-c", "mount -t tmpfs none /tmp && echo mounted"}, stdout: "mounted\n"},
		{name: "dropped capability", args: []string{"--cap-drop", "CHOWN", "busybox", "chown", "1:1", "/tmp"}, code: 1, stderr: "Operation not permitted"},
		{name: "no new privileges", args: []string{"--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status"}, stdout: "NoNewPrivs:\t1\n"},
	} {
		t.Run(s.name, func(t *testing.T) {
			if world.engine != nil && world.engine.kind == dockerEngine {
				testenv.Need(t, s.needs...)
			}
			each(t, func(t *testing.T, c *cli) {
				r := c.doIn(strings.NewReader(s.stdin), append([]string{"run", "--rm"}, s.args...)...)
				if r.code != s.code {
					t.Errorf("exit code %d, want %d", r.code, s.code)
				}
				equal(t, "stdout", r.stdout, s.stdout)
				if s.stderr == "" {
					equal(t, "stderr", r.stderr, "")
				} else {
					matches(t, "stderr", message(r.stderr), s.stderr)
				}
			})
		})
	}
}

// TestRunRefuses is the table of commands that must not start anything.
func TestRunRefuses(t *testing.T) {
	for _, s := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"unknown flag", []string{"run", "--no-such-flag", "busybox"}, `^unknown flag: --no-such-flag`},
		{"malformed reference", []string{"run", "Bad//Ref", "true"}, `invalid reference format`},
		{"upper case reference", []string{"run", "Busybox", "true"}, `invalid reference format: repository name( \(library/Busybox\))? must be lowercase`},
		{"no command", []string{"run", "bare"}, `Error response from daemon: [Nn]o command specified`},
		{"unknown network", []string{"run", "--network", "no-such-net", "busybox", "true"}, `Error response from daemon: (failed to set up container networking: )?network no-such-net not found`},
		{"bad volume", []string{"run", "-v", "relative/path:/x:bogus", "busybox", "true"}, `invalid mode: bogus|invalid volume specification`},
		{"relative target", []string{"run", "-v", "/tmp:relative", "busybox", "true"}, `invalid mount path: 'relative' mount path must be absolute`},
		{"missing bind source", []string{"run", "--mount", "type=bind,source=/no/such/dir,target=/x", "busybox", "true"}, `Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /no/such/dir`},
		{"bad port", []string{"run", "-p", "99999:80", "busybox", "true"}, `[Ii]nvalid (hostPort|host port|range|port)`},
		{"bad memory", []string{"run", "-m", "1k", "busybox", "true"}, `Error response from daemon: Minimum memory limit allowed is 6MB`},
		{"bad capability", []string{"run", "--cap-add", "NO_SUCH", "busybox", "true"}, `Error response from daemon: invalid CapAdd: unknown capability: "CAP_NO_SUCH"`},
		{"bad name", []string{"run", "--name", "bad name", "busybox", "true"}, `Error response from daemon: Invalid container name \(bad name\), only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed`},
		{"detach and rm of restart", []string{"run", "--rm", "--restart", "always", "busybox", "true"}, `onflicting options: .*(--restart and --rm|cannot specify both --restart and --rm)`},
		{"relative workdir", []string{"run", "-w", "relative", "busybox", "true"}, `Error response from daemon: the working directory 'relative' is invalid, it needs to be an absolute path`},
		{"negative cpus", []string{"run", "--cpus", "-1", "busybox", "true"}, `Error response from daemon: .*(CPU|NanoCPUs)`},
	} {
		t.Run(s.name, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				matches(t, "stderr", c.fails(125, s.args...), s.stderr)
			})
		})
	}
}

func TestNameConflict(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		id := c.ok("run", "-d", "--name", name, "busybox", "sleep", "600")
		if len(id) != 64 {
			t.Errorf("run -d printed %q, want a full ID", id)
		}
		want := fmt.Sprintf("Error response from daemon: Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name", "/"+name, id)
		equal(t, "conflict", c.fails(125, "run", "--name", name, "busybox", "true"), want)
		c.ok("rm", "-f", name)
		equal(t, "output after the name is free", c.ok("run", "--rm", "--name", name, "busybox", "echo", "free"), "free")
	})
}

func TestRunRemovesItself(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "--rm", "--name", name, "busybox", "true")
		c.until("removal", func(s string) bool { return s == "" }, "ps", "-aq", "--filter", "name="+name)
		// The name is free at once when run returns.
		c.ok("run", "--rm", "--name", name, "busybox", "true")
	})
}

func TestCidfile(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		file := filepath.Join(t.TempDir(), "cid")
		name := c.container()
		c.ok("run", "--name", name, "--cidfile", file, "busybox", "true")
		id, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "cidfile", string(id), c.ok("inspect", "-f", "{{.Id}}", name))
		matches(t, "second use", c.fails(125, "run", "--rm", "--cidfile", file, "busybox", "true"), "container ID file found")
	})
}

func TestEnvFile(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte("# comment\nONE=1\n\nTWO=a b # c\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		equal(t, "environment", c.ok("run", "--rm", "--env-file", file, "-e", "ONE=over", "busybox", "sh", "-c", `echo "$ONE|$TWO"`), "over|a b # c")
	})
}

// TestBinaryOutput carries 50 MB through without a change or a loss.
func TestBinaryOutput(t *testing.T) {
	const size = 50 << 20
	each(t, func(t *testing.T, c *cli) {
		r := c.do("run", "--rm", "--log-driver", "none", "probe", "probe", "bytes", fmt.Sprint(size))
		if r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		want := bytes.NewBufferString(c.ok("run", "--rm", "probe", "sh", "-c", fmt.Sprintf("probe bytes %d | probe sum", size)))
		equal(t, "length and checksum", fmt.Sprintf("%d %x", len(r.stdout), sha256.Sum256([]byte(r.stdout))), want.String())
	})
}

// TestBinaryInput carries 20 MB in and sees the end of the stream.
func TestBinaryInput(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		data := bytes.Repeat([]byte{0, 1, 2, 3, 0xff, '\n', '\r', 0x1b}, 20<<20/8)
		r := c.doIn(bytes.NewReader(data), "run", "-i", "--rm", "probe", "probe", "sum")
		equal(t, "length and checksum", r.stdout, fmt.Sprintf("%d %x\n", len(data), sha256.Sum256(data)))
	})
}

// TestHalfClose: the container answers after its input has ended.
func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		r := c.doIn(strings.NewReader("b\na\n"), "run", "-i", "--rm", "busybox", "sh", "-c", "sort; echo done")
		equal(t, "stdout", r.stdout, "a\nb\ndone\n")
	})
}

func TestInterleavedOutputKeepsOrder(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		r := c.do("run", "--rm", "busybox", "sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done")
		lines := strings.Fields(r.stdout)
		if len(lines) != 2000 || !slices.IsSortedFunc(lines, func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("%d lines, want 2000 in order", len(lines))
		}
		for i, l := range lines {
			if l != fmt.Sprint(i) {
				t.Fatalf("line %d is %q", i, l)
			}
		}
	})
}

func TestDetachedExitCode(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "exit 7")
		equal(t, "wait", c.ok("wait", name), "7")
		equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}", name), "exited 7 false")
	})
}

func TestDetachedFailureToStart(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		matches(t, "stderr", c.fails(127, "run", "-d", "--name", name, "busybox", "no-such-program"), `executable file not found in \$PATH`)
		equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name), "created 127")
	})
}

func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		const n = 8
		type outcome struct {
			i int
			r result
		}
		got := make(chan outcome, n)
		for i := range n {
			go func() {
				got <- outcome{i, c.do("run", "--rm", "busybox", "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))}
			}()
		}
		for range n {
			o := <-got
			if o.r.code != o.i || o.r.stdout != fmt.Sprintf("%d\n", o.i) {
				t.Errorf("container %d: code %d, stdout %q, stderr %q", o.i, o.r.code, o.r.stdout, o.r.stderr)
			}
		}
	})
}

func TestCreateStartAttached(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		id := c.ok("create", "--name", name, "-i", "busybox", "sh", "-c", "cat; exit 3")
		equal(t, "state", c.ok("ps", "-a", "--filter", "name="+name, "--format", "{{.Status}}"), "Created")
		r := c.doIn(strings.NewReader("through start\n"), "start", "-ai", name)
		equal(t, "stdout", r.stdout, "through start\n")
		if r.code != 3 {
			t.Errorf("exit code %d, want 3", r.code)
		}
		equal(t, "id", c.ok("inspect", "-f", "{{.Id}}", name), id)
	})
}

func TestCopyUpAndRestartKeepsFiles(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "--name", name, "busybox", "sh", "-c", "echo run >> /count")
		c.ok("start", "-a", name)
		c.ok("start", "-a", name)
		equal(t, "file", c.ok("run", "--rm", "--volumes-from", name, "busybox", "echo", "ok"), "ok")
		c.untilState(name, "exited")
		started := c.ok("inspect", "-f", "{{.State.StartedAt}}", name)
		if _, err := time.Parse(time.RFC3339Nano, started); err != nil {
			t.Error(err)
		}
	})
}

// TestJoin: containers in the namespaces of another one, which they know by its
// ID: neither a new name nor a new container with the old one makes a difference.
func TestJoin(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		donor, old := c.background("--ipc", "shareable", "--hostname", "donor", "--domainname", "example"), c.container()
		c.ok("exec", donor, "sh", "-c", "echo shared > /dev/shm/file")
		id := c.ok("inspect", "-f", "{{.Id}}", donor)
		equal(t, "ipc", c.ok("run", "--rm", "--ipc", "container:"+donor, "busybox", "sh", "-c", "cat /dev/shm/file; readlink /proc/self/ns/ipc; echo back > /dev/shm/other"),
			"shared\n"+c.ok("exec", donor, "readlink", "/proc/self/ns/ipc"))
		equal(t, "written by the other", c.ok("exec", donor, "cat", "/dev/shm/other"), "back")

		name := c.container()
		c.ok("create", "--name", name, "--network", "container:"+donor, "--pid", "container:"+donor, "--ipc", "container:"+donor, "busybox", "sh", "-c",
			"for n in net pid ipc; do readlink /proc/self/ns/$n; done; hostname")
		equal(t, "modes", c.ok("inspect", "-f", "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}", name), strings.TrimSpace(strings.Repeat("container:"+id+" ", 3)))
		c.ok("rename", donor, old)
		own := c.ok("exec", old, "sh", "-c", "for n in net pid ipc; do readlink /proc/self/ns/$n; done; hostname")
		equal(t, "all", c.ok("start", "-a", name), own)
		equal(t, "names", c.ok("inspect", "-f", "{{.Config.Hostname}}.{{.Config.Domainname}}", name), "donor.example")

		c.ok("stop", "-t", "0", old)
		matches(t, "stopped", c.fails(1, "start", name), "cannot join network (namespace )?of a non running container")
		c.ok("rm", old)
		c.ok("run", "-d", "--name", donor, "busybox", "sleep", "600") // another one
		matches(t, "removed", c.fails(1, "start", name), "No such container: "+id)

		private := c.background()
		matches(t, "private", c.fails(125, "run", "--rm", "--ipc", "container:"+private, "busybox"), "non-shareable IPC")
	})
}
