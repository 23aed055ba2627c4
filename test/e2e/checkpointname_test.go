package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCheckpointIsExperimental: by default a daemon has no checkpoints, and says so
// to clients that do not know already.
func TestCheckpointIsExperimental(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		for _, args := range [][]string{{"checkpoint", "ls", name}, {"checkpoint", "create", name, "one"}, {"checkpoint", "rm", name, "one"}} {
			matches(t, args[1], c.fails(1, args...), `experimental`)
		}
		equal(t, "ping", c.ok("version", "-f", "{{.Server.Experimental}}"), "false")
	})
}

// TestCheckpointNames needs no criu.
func TestCheckpointNames(t *testing.T) {
	needEngine(t, gantryEngine) // its daemon is not experimental
	t.Parallel()
	e := own(t, engineOptions{args: []string{"--experimental"}})
	for _, cl := range world.clients {
		c := bind(t, cl, e)
		equal(t, "version", c.ok("version", "-f", "{{.Server.Experimental}}"), "true")
		name := c.container()
		c.ok("create", "--name", name, "busybox", "true")
		equal(t, "ls", c.ok("checkpoint", "ls", name), "CHECKPOINT NAME")
		for _, bad := range []string{"../x", "x", ".hidden", "a/b", "ends."} {
			equal(t, bad, c.fails(1, "checkpoint", "create", name, bad), `Error response from daemon: invalid checkpoint ID "`+bad+`", only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`)
			matches(t, bad, c.fails(1, "start", "--checkpoint", bad, name), "^Error response from daemon: invalid checkpoint ID")
		}
		matches(t, "stopped", c.fails(1, "checkpoint", "create", name, "one"), `^Error response from daemon: container \w{64} is not running$`)
		equal(t, "rm", c.fails(1, "checkpoint", "rm", name, "one"), "Error response from daemon: checkpoint one does not exist for container "+name)
		matches(t, "a directory that is not there", c.fails(1, "checkpoint", "ls", "--checkpoint-dir", "/no/such", name), `checkpoint directory "/no/such" does not exist|No such container` /* the older client says so of all that is missing */)
		matches(t, "a relative directory", c.fails(1, "checkpoint", "ls", "--checkpoint-dir", "x", name), "is not an absolute path")
		matches(t, "no container", c.fails(1, "checkpoint", "ls", "nobody"), "No such container: nobody")
		equal(t, "it is there", c.ok("inspect", "-f", "{{.State.Status}}", name), "created")

		// Whoever can write there says what is restored.
		shared := filepath.Join(t.TempDir(), "shared")
		if err := os.Mkdir(shared, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(shared, 0o777); err != nil {
			t.Fatal(err)
		}
		running := c.background()
		matches(t, "everybody's directory", c.fails(1, "checkpoint", "create", "--checkpoint-dir", shared, running, "one"),
			`^Error response from daemon: Cannot checkpoint container `+running+`: create checkpoint: checkpoint directory `+shared+` must belong to user 0 and be writable for nobody else`)
		equal(t, "it runs", c.ok("inspect", "-f", "{{.State.Status}}", running), "running")
		if entries, err := os.ReadDir(shared); err != nil || len(entries) > 0 {
			t.Errorf("left: %v, %v", entries, err)
		}
	}
}
