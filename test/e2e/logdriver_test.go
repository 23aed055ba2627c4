package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// rsyslog is a real syslog server that writes what it gets into a file.
type rsyslog struct {
	t    *testing.T
	port int
	file string
	conf string
	cmd  *exec.Cmd
}

func newRsyslog(t *testing.T) *rsyslog {
	t.Helper()
	testenv.Need(t, testenv.Tool("rsyslogd"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &rsyslog{t: t, port: port, file: filepath.Join(dir, "messages"), conf: filepath.Join(dir, "conf")}
	text := fmt.Sprintf(`global(workDirectory=%q)
module(load="imtcp")
module(load="imudp")
input(type="imtcp" port="%d" address="127.0.0.1")
input(type="imudp" port="%d" address="127.0.0.1")
template(name="plain" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%% %%syslogtag%%%%msg%%\n")
*.* action(type="omfile" file=%q template="plain" asyncWriting="off" flushOnTXEnd="on")
`, dir, port, port, r.file)
	if err := os.WriteFile(r.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	r.cmd = exec.Command("rsyslogd", "-n", "-f", r.conf, "-i", r.conf+".pid")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", r.port))
		if err == nil {
			_ = c.Close() // it was only to see that it listens
			return
		}
		if time.Since(begin) > 30*time.Second {
			r.t.Fatal(err)
		}
	}
}

func (r *rsyslog) stop() {
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil {
		r.t.Error(err)
	}
	_ = r.cmd.Wait() // how it ends is its affair
	r.cmd = nil
}

// wait waits until the server has written a line that contains the text.
func (r *rsyslog) wait(text string) string {
	r.t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		data, _ := os.ReadFile(r.file) // it may not be there yet
		if strings.Contains(string(data), text) {
			return string(data)
		}
		if time.Since(begin) > 45*time.Second {
			r.t.Fatalf("%q has not arrived:\n%s", text, data)
		}
	}
}

func TestLogDriverSyslog(t *testing.T) {
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				server, box := newRsyslog(t), c.container()
				server.start()
				c.ok("run", "--name", box, "--log-driver", "syslog", "--log-opt", fmt.Sprintf("syslog-address=%s://127.0.0.1:%d", proto, server.port),
					"--log-opt", "syslog-format=rfc3164", "--log-opt", "tag=mine", "--log-opt", "syslog-facility=local5", "busybox", "sh", "-c", "echo to out; echo to err >&2; echo end")
				got := server.wait(" end")
				for _, want := range []string{"local5.info mine[", "local5.err mine["} {
					if !strings.Contains(got, want) {
						t.Errorf("%q is missing in:\n%s", want, got)
					}
				}
				equal(t, "logs", c.ok("logs", box), "to out\nend")
				equal(t, "inspect", c.ok("inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", box), "syslog ")
			})
		})
	}
}

// A server that is away holds nothing up, and gets everything when it is back.
func TestLogServerComesBack(t *testing.T) {
	if world.engine.kind == dockerEngine {
		t.Skip("needs engine gantry: Docker refuses to start the container")
	}
	c := bind(t, world.clients[0], world.engine)
	server, box := newRsyslog(t), c.container()
	begin := time.Now()
	c.ok("run", "--name", box, "--log-driver", "syslog", "--log-opt", fmt.Sprintf("syslog-address=tcp://127.0.0.1:%d", server.port),
		"--log-opt", "tag=mine", "busybox", "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done")
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("the container took %s", d)
	}
	server.start()
	got := server.wait("line 499")
	for i := range 500 {
		if n := strings.Count(got, fmt.Sprintf(": line %d\n", i)); n != 1 {
			t.Errorf("line %d arrived %d times", i, n)
		}
	}
}

func TestLogDriverLocal(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		box := c.container()
		c.ok("run", "--name", box, "--log-driver", "local", "--log-opt", "max-size=10k", "--log-opt", "max-file=2", "busybox", "sh", "-c", "echo one; echo two >&2")
		r := c.do("logs", box)
		equal(t, "logs", r.stdout+r.stderr, "one\ntwo\n")
		equal(t, "path", c.ok("inspect", "-f", "{{.LogPath}}", box), "")
	})
}

func TestLogDriverErrors(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		for want, args := range map[string][]string{
			"error looking up logging plugin what: plugin \"what\" not found": {"--log-driver", "what"},
			"unknown log opt 'what' for syslog log driver":                    {"--log-driver", "syslog", "--log-opt", "what=x"},
			"gelf-address is a required parameter|gelf:":                      {"--log-driver", "gelf"},
			"not supported|must specify a value":                              {"--log-driver", "awslogs"},
		} {
			box := c.container()
			matches(t, "message", c.fails(125, append(append([]string{"run", "--name", box}, args...), "busybox", "true")...), want)
		}
	})
}
