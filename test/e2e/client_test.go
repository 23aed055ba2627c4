package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// commandTimeout bounds one client command: a hang is a failure, not a wait.
const commandTimeout = 60 * time.Second

// client is a command-line client that the suite drives.
type client struct {
	name string // of the subtest
	path string
}

// findClients gives the installed clients, or those that E2E_CLIENTS names.
func findClients() ([]client, error) {
	all := []client{
		{"gantry", filepath.Join(binDir(), "gantry")},
		{"docker20", "/usr/bin/docker"},
		{"docker", currentDocker()},
	}
	wanted := strings.FieldsFunc(os.Getenv("E2E_CLIENTS"), func(r rune) bool { return r == ',' })
	var found []client
	for _, c := range all {
		_, err := os.Stat(c.path)
		switch {
		case len(wanted) > 0 && !slices.Contains(wanted, c.name):
		case err == nil:
			found = append(found, c)
		case c.name == "gantry" && engineKind() == gantryEngine, len(wanted) > 0:
			return nil, fmt.Errorf("client %s: %w", c.name, err)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no client is installed")
	}
	return found, nil
}

// currentDocker is the newer client: what scripts/docker-cli found or built.
func currentDocker() string {
	for _, at := range []string{os.Getenv("E2E_DOCKER"), "/usr/local/bin/docker", "../../.cache/bin/docker"} {
		if at == "" {
			continue
		}
		if abs, err := filepath.Abs(at); err == nil {
			if _, err := os.Stat(abs); err == nil {
				return abs
			}
		}
	}
	return "/usr/local/bin/docker"
}

// cli is a client bound to a daemon and a test.
type cli struct {
	client
	t    testing.TB
	e    *engine
	home string // HOME and DOCKER_CONFIG's parent
}

// result is how a command ended. Streams are as they came.
type result struct {
	stdout, stderr string
	code           int
}

// each runs fn once for every client, in parallel subtests.
func each(t *testing.T, fn func(t *testing.T, c *cli)) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	t.Parallel()
	for _, cl := range world.clients {
		t.Run(cl.name, func(t *testing.T) {
			t.Parallel()
			fn(t, bind(t, cl, world.engine))
		})
	}
}

// one runs fn with the first client only: for what no client can influence.
func one(t *testing.T, e *engine) *cli {
	t.Helper()
	testenv.Need(t, testenv.Root)
	return bind(t, world.clients[0], e)
}

func bind(t testing.TB, cl client, e *engine) *cli {
	return &cli{client: cl, t: t, e: e, home: t.TempDir()}
}

// cmd prepares a command against the bound daemon.
func (c *cli) cmd(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, append([]string{"-H", "unix://" + c.e.sock}, args...)...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.home,
		"DOCKER_CONFIG=" + filepath.Join(c.home, ".docker"), "TERM=xterm", "LC_ALL=C.UTF-8",
		"DOCKER_CLI_HINTS=false",
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// do runs a command without standard input.
func (c *cli) do(args ...string) result {
	c.t.Helper()
	return c.doIn(nil, args...)
}

// doIn runs a command with stdin.
func (c *cli) doIn(stdin io.Reader, args ...string) result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := c.cmd(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	err := cmd.Run()
	r := result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		c.t.Fatalf("%s %q hangs\nstdout: %s\nstderr: %s", c.name, args, tail(r.stdout), tail(r.stderr))
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		c.t.Fatalf("%s %q: %v", c.name, args, err)
	}
	return r
}

// ok runs a command that must succeed and returns its standard output without
// the last newline.
func (c *cli) ok(args ...string) string {
	c.t.Helper()
	r := c.do(args...)
	if r.code != 0 {
		c.t.Fatalf("%s %q: exit code %d\nstdout: %s\nstderr: %s", c.name, args, r.code, tail(r.stdout), tail(r.stderr))
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// fails runs a command that must end with code and gives the message.
func (c *cli) fails(code int, args ...string) string {
	c.t.Helper()
	r := c.do(args...)
	if r.code != code {
		c.t.Errorf("%s %q: exit code %d, want %d\nstdout: %s\nstderr: %s", c.name, args, r.code, code, tail(r.stdout), tail(r.stderr))
	}
	return message(r.stderr)
}

// inspect decodes `inspect` of one object into v.
func (c *cli) inspect(v any, name string) {
	c.t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(c.ok("inspect", name)), &all); err != nil || len(all) != 1 {
		c.t.Fatalf("inspect %s: %d objects, %v", name, len(all), err)
	}
	if err := json.Unmarshal(all[0], v); err != nil {
		c.t.Fatalf("inspect %s: %v", name, err)
	}
}

// container gives a name for a container that is removed after the test.
func (c *cli) container() string {
	name := testenv.Unique("c")
	c.t.Cleanup(func() { c.remove(name) })
	return name
}

func (c *cli) remove(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	_, err := c.e.call(ctx, "DELETE", "/containers/"+name+"?force=1&v=1", "", nil)
	if api, ok := errors.AsType[*apiError](err); err != nil && (!ok || api.status != 404 && api.status != 409) {
		c.t.Errorf("remove %s: %v", name, err)
	}
}

// background starts a container that sleeps, and returns its name.
func (c *cli) background(flags ...string) string {
	c.t.Helper()
	name := c.container()
	c.ok(slices.Concat([]string{"run", "-d", "--name", name}, flags, []string{"busybox", "sleep", "600"})...)
	return name
}

// until polls a command until its output satisfies the condition.
func (c *cli) until(what string, cond func(string) bool, args ...string) string {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		r := c.do(args...)
		if cond(r.stdout) {
			return r.stdout
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited for %s: %s %q gives\nstdout: %s\nstderr: %s", what, c.name, args, tail(r.stdout), tail(r.stderr))
		}
		time.Sleep(wait)
	}
}

// untilState waits for a container's status.
func (c *cli) untilState(name, state string) {
	c.t.Helper()
	c.until(name+" "+state, func(s string) bool { return strings.TrimSpace(s) == state }, "inspect", "-f", "{{.State.Status}}", name)
}

var (
	program  = regexp.MustCompile(`^(docker|gantry): `)
	helpHint = regexp.MustCompile(`\n*(See '(docker|gantry) [a-z ]*--help'|Run '(docker|gantry) [a-z ]*--help' for more information|Run '(docker|gantry) [a-z ]*--help'\.?)\.?\n*`)
	usage    = regexp.MustCompile(`(?s)\n\nUsage:.*`)
)

// message reduces standard error to what all versions of the client share:
// without the name of the program, the pointer to --help and the final period.
func message(stderr string) string {
	s := program.ReplaceAllString(stderr, "")
	s = usage.ReplaceAllString(s, "")
	s = helpHint.ReplaceAllString(s, "")
	return strings.TrimSuffix(strings.TrimSpace(s), ".")
}

// tail shortens output for a failure message.
func tail(s string) string {
	const limit = 2000
	if len(s) > limit {
		return "…" + s[len(s)-limit:]
	}
	return s
}

// equal reports a difference between text and what it should be.
func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %q\nwant %q", what, tail(got), tail(want))
	}
}

// matches reports text that does not match a regular expression.
func matches(t testing.TB, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%s:\n got %q\nwant a match of %q", what, tail(got), pattern)
	}
}
