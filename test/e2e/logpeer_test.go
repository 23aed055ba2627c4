package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// logPeer is a log server of another maker, see scripts/log-peers. It prints a line
// of JSON for each message.
type logPeer struct {
	t       *testing.T
	program string
	at      string // port or socket
	cmd     *exec.Cmd
	read    sync.WaitGroup

	mu    sync.Mutex
	lines []string
}

const logPeerModules = "../../.cache/log-peers/node_modules"

func newLogPeer(t *testing.T, program, at string) *logPeer {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("node"), testenv.File(logPeerModules))
	p := &logPeer{t: t, program: program, at: at}
	t.Cleanup(p.stop)
	return p
}

func (p *logPeer) start() {
	p.t.Helper()
	modules, err := filepath.Abs(logPeerModules)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command("node", "testdata/logpeers/"+p.program, p.at)
	p.cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.read.Go(func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			p.mu.Unlock()
		}
	})
	p.until("listens", func(all []string) bool { return len(all) > 0 && strings.Contains(strings.Join(all, ""), `"listening"`) })
}

// stop ends the server: its connections break, but no event is half taken.
func (p *logPeer) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	p.read.Wait()
	_ = p.cmd.Wait() // how it ends is its affair
	p.cmd = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, l := range p.lines {
		p.lines[i] = strings.ReplaceAll(l, `"listening"`, `"listened"`)
	}
}

func (p *logPeer) until(what string, cond func([]string) bool) []string {
	p.t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		all := append([]string(nil), p.lines...)
		p.mu.Unlock()
		if cond(all) {
			return all
		}
		if time.Since(begin) > 45*time.Second {
			p.t.Fatalf("%s: not %s: %q", p.program, what, all)
		}
	}
}

// forwarded is an event of the forward protocol.
type forwarded struct {
	Tag     string
	Seconds int64
	Nanos   int64
	Precise bool
	Record  map[string]string
}

// events waits for an event with that text and gives all.
func (p *logPeer) events(last string) (all []forwarded) {
	p.t.Helper()
	lines := p.until("an event "+last, func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), `"log":"`+last+`"`) })
	for _, l := range lines {
		var f forwarded
		if err := json.Unmarshal([]byte(l), &f); err != nil {
			p.t.Fatalf("%s: %v", l, err)
		}
		if f.Tag != "" {
			all = append(all, f)
		}
	}
	return all
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestLogDriverFluentd: what a forward server that is not ours understands.
func TestLogDriverFluentd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "fluentd")
	for name, c := range map[string]struct {
		options []string
		socket  bool
		tag     string
		precise bool
	}{
		"plain":     {tag: "ID"},
		"ack":       {options: []string{"fluentd-request-ack=true"}, tag: "ID"},
		"precision": {options: []string{"fluentd-sub-second-precision=true", "fluentd-request-ack=true"}, tag: "ID", precise: true},
		"tag":       {options: []string{"tag=docker.{{.Name}}.{{.ImageName}}.{{.FullID}}", "fluentd-sub-second-precision=true"}, tag: "docker.NAME.busybox.FULL", precise: true},
		"socket":    {options: []string{"fluentd-request-ack=true", "labels=a", "env=B"}, socket: true, tag: "ID"},
	} {
		t.Run(name, func(t *testing.T) {
			at, address := freePort(t), ""
			if address = "tcp://127.0.0.1:" + at; c.socket {
				at, address = socket, "unix://"+socket
			}
			server := newLogPeer(t, "fluentd.js", at)
			server.start()
			cl := bind(t, world.clients[0], world.engine)
			box := cl.container()
			args := []string{"run", "--name", box, "--label", "a=label", "-e", "B=variable", "--log-driver", "fluentd", "--log-opt", "fluentd-address=" + address}
			for _, o := range c.options {
				args = append(args, "--log-opt", o)
			}
			long := strings.Repeat("ü", 20000)
			begin := time.Now()
			cl.ok(append(args, "busybox", "sh", "-c", "echo ä first; sleep 0.1; echo second >&2; sleep 0.1; echo '"+long+"'; sleep 0.1; echo end")...)
			got := server.events("end")
			id := cl.ok("inspect", "-f", "{{.Id}}", box)
			tag := strings.NewReplacer("FULL", id, "ID", short(id), "NAME", box).Replace(c.tag)
			var text strings.Builder
			fractions, parts, ids := false, 0, map[string]bool{}
			for _, e := range got {
				if e.Tag != tag || e.Precise != c.precise || e.Record["container_id"] != id || e.Record["container_name"] != "/"+box {
					t.Errorf("event %.200v, want tag %s", e, tag)
				}
				if at := time.Unix(e.Seconds, e.Nanos); at.Before(begin.Truncate(time.Second)) || at.After(time.Now()) {
					t.Errorf("time %s of %.100v", at, e)
				}
				fractions = fractions || e.Nanos%int64(time.Millisecond) != 0
				if c.socket && (e.Record["a"] != "label" || e.Record["B"] != "variable") {
					t.Errorf("attributes of %.200v", e)
				}
				if source := e.Record["source"]; (source == "stderr") != (e.Record["log"] == "second") {
					t.Errorf("source %s of %.100q", source, e.Record["log"])
				}
				text.WriteString(e.Record["log"])
				part := e.Record["partial_message"] == "true"
				if part {
					parts++
					ids[e.Record["partial_id"]] = true
					if e.Record["partial_ordinal"] != strconv.Itoa(parts) {
						t.Errorf("part %s of the line is number %d", e.Record["partial_ordinal"], parts)
					}
				}
				if !part || e.Record["partial_last"] == "true" {
					text.WriteByte('\n')
				}
			}
			if fractions != c.precise {
				t.Errorf("fractions of a second: %v", fractions)
			}
			if parts < 2 || len(ids) != 1 {
				t.Errorf("%d parts of one line have ids %v", parts, ids)
			}
			equal(t, "log", text.String(), "ä first\nsecond\n"+long+"\nend\n")
		})
	}
}

// TestLogFluentdComesBack: with acknowledgements nothing is lost, whenever the server
// is away, and the container is not held up.
func TestLogFluentdComesBack(t *testing.T) {
	needEngine(t, gantryEngine) // Docker refuses to start the container
	t.Parallel()
	c := one(t, world.engine)
	server := newLogPeer(t, "fluentd.js", freePort(t))
	box := c.container()
	c.ok("run", "-d", "--name", box, "--log-driver", "fluentd", "--log-opt", "fluentd-address=127.0.0.1:"+server.at, "--log-opt", "fluentd-request-ack=true",
		"busybox", "sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.05; done; echo end")
	c.until("line 500", func(s string) bool { return strings.Contains(s, "line 500\n") }, "logs", box)
	for i := range 3 {
		server.start()
		server.events(fmt.Sprint("line ", 100+300*i))
		server.stop()
	}
	server.start()
	counts := map[string]int{}
	for _, e := range server.events("end") {
		counts[e.Record["log"]]++
	}
	twice := 0
	for i := range 3000 {
		switch n := counts[fmt.Sprint("line ", i)]; n {
		case 0:
			t.Errorf("line %d is lost", i)
		case 1:
		default:
			twice++
		}
	}
	if twice > 3 { // what was under way when the server was killed
		t.Errorf("%d lines came twice", twice)
	}
}

// TestLogDriverGelf: what a GELF server that is not ours understands, also of
// messages in many parts.
func TestLogDriverGelf(t *testing.T) {
	for _, compression := range []string{"gzip", "zlib", "none"} {
		t.Run(compression, func(t *testing.T) {
			server := newLogPeer(t, "gelf.js", freePort(t))
			server.start()
			c := bind(t, world.clients[0], world.engine)
			box := c.container()
			// It does not compress to less than a datagram.
			noise := c.ok("run", "--rm", "busybox", "sh", "-c", "head -c 9000 /dev/urandom | base64 -w 0")
			begin := time.Now()
			c.ok("run", "--name", box, "--label", "a=label", "--log-driver", "gelf", "--log-opt", "gelf-address=udp://127.0.0.1:"+server.at,
				"--log-opt", "gelf-compression-type="+compression, "--log-opt", "tag={{.Name}}", "--log-opt", "labels=a",
				"busybox", "sh", "-c", "echo ä first; sleep 0.2; echo second >&2; sleep 0.2; echo "+noise+"; sleep 0.2; echo end")
			lines := server.until("end", func(all []string) bool { return strings.Contains(strings.Join(all, "\n"), `"short_message":"end"`) })
			id, levels, text := c.ok("inspect", "-f", "{{.Id}}", box), "", ""
			for _, l := range lines {
				var m struct {
					Version       string
					Short         string `json:"short_message"`
					Level         int
					Timestamp     float64
					ContainerID   string `json:"_container_id"`
					ContainerName string `json:"_container_name"`
					Tag           string `json:"_tag"`
					Label         string `json:"_a"`
					Image         string `json:"_image_name"`
				}
				if err := json.Unmarshal([]byte(l), &m); err != nil {
					t.Fatalf("%s: %v", l, err)
				}
				if m.Version == "" {
					continue
				}
				if m.Version != "1.1" || m.ContainerID != id || m.ContainerName != box || m.Tag != box || m.Label != "label" || m.Image != "busybox" {
					t.Errorf("message %.300s", l)
				}
				if at := time.UnixMicro(int64(math.Round(m.Timestamp * 1e6))); at.Before(begin.Add(-time.Millisecond)) || at.After(time.Now()) {
					t.Errorf("time %s of %.100s", at, l)
				}
				levels += strconv.Itoa(m.Level)
				text += m.Short + "\n"
			}
			equal(t, "log", text, "ä first\nsecond\n"+noise+"\nend\n")
			equal(t, "levels", levels, "6366")
		})
	}
}
