package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
)

func TestRootHelp(t *testing.T) {
	useDaemon(t, newFakeDaemon(t))
	for _, args := range [][]string{{}, {"-D"}, {"--help"}, {"help"}} {
		got := call(t, "", append([]string{"gantry"}, args...)...)
		if len(args) == 0 || args[0] == "-D" { // which nobody means as a question
			got.stdout, got.stderr = got.stderr, got.stdout
		}
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%q: code %d, stderr %q", args, got.code, got.stderr)
		}
		if !strings.HasPrefix(got.stdout, "Usage:  gantry [OPTIONS] COMMAND\n") {
			t.Errorf("%q: %q", args, got.stdout)
		}
		at := -1
		for _, section := range []string{"\nCommon Commands:\n  run  ", "\nManagement Commands:\n", "\nCommands:\n", "\nGlobal Options:\n", "\nRun 'gantry COMMAND --help'"} {
			i := strings.Index(got.stdout, section)
			if i <= at {
				t.Errorf("%q: section %q is missing or out of order", args, section)
			}
			at = i
		}
	}
}

func TestCommandHelp(t *testing.T) {
	useDaemon(t, newFakeDaemon(t))
	got := call(t, "", "docker", "ps", "--help")
	for _, part := range []string{
		"Usage:  docker ps [OPTIONS]\n", "\nAliases:\n  docker container ls, docker container list, docker container ps, docker ps\n",
		"\nOptions:\n  -a, --all             Show", "\n  -n, --last int        Show",
	} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("%q is missing in %q", part, got.stdout)
		}
	}
	for line := range strings.SplitSeq(got.stdout, "\n") {
		if len(line) > 80 {
			t.Errorf("line of %d characters: %q", len(line), line)
		}
	}
	if short := call(t, "", "docker", "ps", "-h"); short.stdout != "Flag shorthand -h has been deprecated, use --help\n"+got.stdout {
		t.Errorf("-h: %+v", short)
	}
	if help := call(t, "", "docker", "help", "ps"); help.stdout != got.stdout {
		t.Errorf("help ps: %q", help.stdout)
	}
}

// Every command must have a description, a usage line that begins with its
// name, and arguments that are checked: a slip would show only to users.
func TestEveryCommandIsComplete(t *testing.T) {
	s := session.New("gantry", &stream.Stdio{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, session.Build{})
	root := newRoot(s, pflag.NewFlagSet("gantry", pflag.ContinueOnError))
	addAll(s, root)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: description %q", c.CommandPath(), c.Short)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" && !f.Hidden {
				t.Errorf("%s --%s: no description", c.CommandPath(), f.Name)
			}
		})
		if names := c.Annotations[session.AliasesKey]; names != "" {
			path := strings.TrimPrefix(c.CommandPath(), "gantry ")
			if !slices.Contains(strings.Split(names, ","), path) {
				t.Errorf("%s: its aliases are %q", path, names)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			walk(c)
		}
	}
}

func TestVersionLine(t *testing.T) {
	useDaemon(t, newFakeDaemon(t))
	for name, want := range map[string]string{"gantry": "Gantry version 1.0.0, build abc\n", "/usr/bin/docker": "Docker version 1.0.0, build abc\n"} {
		if got := call(t, "", name, "-v"); got.stdout != want || got.code != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	useDaemon(t, newFakeDaemon(t))
	for _, c := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"stop", ""}, "web\n", "c11\n"},                                    // c11 does not run
		{[]string{"container", "rm", ""}, "c11\n", "web\n"},                         // web runs
		{[]string{"rm", "-f", ""}, "web\n", ""},                                     // by force any
		{[]string{"run", ""}, "busybox:1.35\n", ""},                                 // images
		{[]string{"rmi", "busybox:1.35", ""}, "busybox:latest\n", "busybox:1.35\n"}, // not twice
		{[]string{"network", "inspect", ""}, "net10\n", ""},
		{[]string{"volume", "rm", ""}, "v9\n", ""},
		{[]string{"pu"}, "pull\t", ""},
		{[]string{"run", "--net"}, "--network\t", "--net\t"},
		{[]string{"run", "--network", ""}, "net10\n", ""},
		{[]string{"run", "--network", "container:"}, "container:web\n", ""},
		{[]string{"run", "--volumes-from", ""}, "web\n", ""},
		{[]string{"update", "--restart", ""}, "unless-stopped\n", ""},
		{[]string{"ps", "--filter", ""}, "status=\n", "scope=\n"},
		{[]string{"network", "ls", "--filter", ""}, "scope=\n", "status=\n"},
		{[]string{"run", "--memory", ""}, ":4\n", ":0\n"},
		{[]string{"run", "--env-file", ""}, ":0\n", ":4\n"},
	} {
		got := call(t, "", append([]string{"gantry", "__complete"}, c.args...)...)
		if !strings.Contains(got.stdout, c.want) || c.not != "" && strings.Contains(got.stdout, c.not) {
			t.Errorf("%q: %q", c.args, got.stdout)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := call(t, "", "gantry", "completion", shell); got.code != 0 || !strings.Contains(got.stdout, "gantry") {
			t.Errorf("%s: code %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
}

func TestNoDaemon(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/d.sock")
	t.Setenv("GANTRY_HOST", "")
	first := "Cannot connect to the Docker daemon at unix:///nonexistent/d.sock. Is the docker daemon running?"
	for _, c := range []struct {
		args []string
		code int
		head string
	}{
		{[]string{"ps"}, 1, first}, {[]string{"run", "x"}, 125, "gantry: " + first}, {[]string{"rm", "a", "b"}, 1, first},
		{[]string{"start", "a", "b"}, 1, first}, {[]string{"exec", "a", "b"}, 1, first}, {[]string{"inspect", "a", "b"}, 1, first},
	} {
		got := call(t, "", append([]string{"gantry"}, c.args...)...)
		if got.code != c.code || !strings.HasPrefix(got.stderr, c.head) || strings.Count(got.stderr, first) != 1 {
			t.Errorf("%q: code %d, %q", c.args, got.code, got.stderr)
		}
	}
}
