package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestPs(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		label := testenv.Unique("ps")
		running, exited := c.background("--label", "group="+label), c.container()
		c.do("run", "--name", exited, "--label", "group="+label, "--label", "extra=1", "busybox", "sh", "-c", "exit 3")
		id := c.ok("inspect", "-f", "{{.Id}}", running)
		list := func(args ...string) []string {
			out := c.ok(append([]string{"ps", "--filter", "label=group=" + label}, args...)...)
			return slices.Sorted(strings.SplitSeq(out, "\n"))
		}
		same := func(what string, got []string, want ...string) {
			t.Helper()
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		same("names", list("--format", "{{.Names}}"), running)
		same("all names", list("-a", "--format", "{{.Names}}"), running, exited)
		same("quiet", list("-q"), short(id))
		same("quiet, whole", list("-q", "--no-trunc"), id)
		same("exited", list("--filter", "status=exited", "--format", "{{.Names}}"), exited)
		same("exit code", list("-a", "--filter", "exited=3", "--format", "{{.Names}}"), exited)
		same("label key", list("-a", "--filter", "label=extra", "--format", "{{.Names}}"), exited)
		same("name", list("-a", "--filter", "name=^/?"+exited+"$", "--format", "{{.Names}}"), exited)
		same("id", list("-a", "--filter", "id="+short(id), "--format", "{{.Names}}"), running)
		same("ancestor", list("-a", "--filter", "ancestor=busybox", "--format", "{{.Names}}"), running, exited)
		same("other ancestor", list("-a", "--filter", "ancestor=app"), strings.Split(c.ok("ps", "-a", "--filter", "label=no-such"), "\n")...)
		same("last", list("-n", "1", "--format", "{{.Names}}"), exited)
		same("template", list("-a", "--format", "{{.Image}}|{{.Command}}|{{.State}}|{{.Label \"extra\"}}"), `busybox|"sleep 600"|running|`, `busybox|"sh -c 'exit 3'"|exited|1`)
		same("json", list("--format", `{{json .Names}}`), fmt.Sprintf("%q", running))
		table := c.ok("ps", "-a", "--filter", "label=group="+label)
		lines := strings.Split(table, "\n")
		matches(t, "head", lines[0], `^CONTAINER ID   IMAGE     COMMAND +CREATED +STATUS +PORTS +NAMES$`)
		matches(t, "row", lines[1], fmt.Sprintf(`^[0-9a-f]{12}   busybox   "sh -c 'exit 3'" +(Less than a second ago|About a minute ago|\d+ \w+ ago) +Exited \(3\) .+ ago +%s$`, exited))
		matches(t, "row", lines[2], fmt.Sprintf(`^%s   busybox   "sleep 600" +.+ ago +Up .+ +%s$`, short(id), running))
		matches(t, "own table", c.ok("ps", "--filter", "label=group="+label, "--format", "table {{.ID}}\t{{.Names}}"), fmt.Sprintf(`^CONTAINER ID +NAMES\n%s +%s$`, short(id), running))
	})
}

func TestPsBadFilter(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		matches(t, "stderr", c.fails(1, "ps", "--filter", "nonsense=1"), `Error response from daemon: (I|i)nvalid filter '?(nonsense)'?`)
	})
}

func TestInspect(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background("-e", "A=b", "--hostname", "h", "-w", "/tmp", "--label", "l=1", "--memory", "32m", "--restart", "unless-stopped")
		var got struct {
			ID, Name, Image, Path string
			Args                  []string
			State                 struct {
				Status  string
				Running bool
				Pid     int
			}
			Config struct {
				Hostname, WorkingDir, Image string
				Env, Cmd                    []string
				Labels                      map[string]string
			}
			HostConfig struct {
				Memory        int64
				NetworkMode   string
				RestartPolicy struct{ Name string }
			}
		}
		c.inspect(&got, name)
		equal(t, "name", got.Name, "/"+name)
		equal(t, "image", got.Image, world.images["busybox"])
		equal(t, "path and args", got.Path+" "+strings.Join(got.Args, " "), "sleep 600")
		equal(t, "config", fmt.Sprint(got.Config.Hostname, got.Config.WorkingDir, got.Config.Image, got.Config.Labels, got.Config.Cmd), fmt.Sprint("h", "/tmp", "busybox", map[string]string{"l": "1"}, []string{"sleep", "600"}))
		if !slices.Contains(got.Config.Env, "A=b") || !slices.ContainsFunc(got.Config.Env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }) {
			t.Errorf("environment %q", got.Config.Env)
		}
		equal(t, "host config", fmt.Sprint(got.HostConfig.Memory, got.HostConfig.NetworkMode, got.HostConfig.RestartPolicy.Name), fmt.Sprint(32<<20, c.ok("inspect", "-f", "{{.HostConfig.NetworkMode}}", name), "unless-stopped"))
		if !got.State.Running || got.State.Pid <= 1 {
			t.Errorf("state %+v", got.State)
		}
		equal(t, "by prefix", c.ok("inspect", "-f", "{{.Name}}", short(c.ok("inspect", "-f", "{{.Id}}", name))), "/"+name)
		equal(t, "type", c.ok("inspect", "--type", "image", "-f", "{{.Id}}", "busybox"), world.images["busybox"])
		equal(t, "json function", c.ok("inspect", "-f", "{{json .Config.Labels}}", name), `{"l":"1"}`)
		r := c.do("inspect", "no-such-object")
		if r.code != 1 || r.stdout != "[]\n" {
			t.Errorf("unknown object: code %d, stdout %q", r.code, r.stdout)
		}
		matches(t, "unknown object", r.stderr, `(?i)^Error: No such object: no-such-object`)
		matches(t, "bad template", c.fails(1, "inspect", "-f", "{{.NoSuchField}}", name), `template`)
	})
}

func TestVersion(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		matches(t, "server", c.ok("version", "--format", "{{.Server.Version}}"), `^\d+\.\d+|^dev`)
		matches(t, "API", c.ok("version", "--format", "{{.Server.APIVersion}}"), `^1\.\d+$`)
		matches(t, "text", c.ok("version"), `(?s)^Client:.*Server:`)
		matches(t, "flag", c.ok("--version"), `version`)
	})
}

func TestInfo(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "os", c.ok("info", "--format", "{{.OSType}} {{.NCPU}} {{.DockerRootDir}}"), c.ok("info", "-f", "linux {{.NCPU}} {{.DockerRootDir}}"))
		matches(t, "text", c.ok("info"), `(?s)Server:.* Containers: \d+\n.* Running: \d+\n.*Cgroup Driver: cgroupfs\n`)
	})
}

func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		from := c.now()
		c.do("run", "--name", name, "--label", "seen=1", "busybox", "sh", "-c", "exit 2")
		c.ok("rm", name)
		c.until("destroy event", func(s string) bool { return strings.Contains(s, "destroy") }, "events", "--since", from, "--until", c.now(), "--filter", "container="+name, "--format", "{{.Action}}")
		events := c.ok("events", "--since", from, "--until", c.now(), "--filter", "container="+name, "--format", "{{.Type}} {{.Action}}")
		equal(t, "events", events, "container create\ncontainer attach\ncontainer start\ncontainer die\ncontainer destroy")
		equal(t, "filtered", c.ok("events", "--since", from, "--until", c.now(), "--filter", "container="+name, "--filter", "event=die", "--format", `{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}} {{.Actor.Attributes.seen}}`), "2 busybox 1")
		matches(t, "default form", c.ok("events", "--since", from, "--until", c.now(), "--filter", "container="+name, "--filter", "event=start"), `^\d{4}-\d\d-\d\dT\S+ container start [0-9a-f]{64} \(image=busybox, name=`+name+`, seen=1\)$`)
	})
}

// TestEventsLive: a listener sees what happens after it began, once.
func TestEventsLive(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		from := c.now()
		p := c.start("events", "--since", from, "--filter", "container="+name, "--format", "{{.Action}}")
		c.ok("create", "--name", name, "busybox", "true")
		p.expect("create\n")
		c.ok("start", name)
		p.expect("start\n")
		p.expect("die\n")
		c.ok("rm", name)
		p.expect("destroy\n")
		p.signal("SIGTERM")
		p.wait()
	})
}

// now is the daemon's time with nanoseconds, in the form that --since takes.
func (c *cli) now() string {
	c.t.Helper()
	return c.ok("info", "--format", "{{.SystemTime}}")
}

func TestStats(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background("--memory", "64m")
		matches(t, "stats", c.ok("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", name), `^`+name+` [\d.]+[kKM]iB / 64MiB 1$`)
	})
}

func TestDiff(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "--name", name, "busybox", "sh", "-c", "echo x > /tmp/new; rm /etc/group; echo y >> /etc/passwd")
		equal(t, "diff", strings.Join(slices.Sorted(strings.SplitSeq(c.ok("diff", name), "\n")), "\n"), "A /tmp/new\nC /etc\nC /etc/passwd\nC /tmp\nD /etc/group")
	})
}

func TestUnknownCommand(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		r := c.do("no-such-command")
		matches(t, "stderr", r.stderr, `(docker|gantry): ('no-such-command' is not a (docker|gantry) command|unknown command: (docker|gantry) no-such-command)`)
		if r.code != 1 {
			t.Errorf("exit code %d, want 1", r.code)
		}
	})
}
