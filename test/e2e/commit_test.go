package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// image gives a name for an image that is removed after the test.
func (c *cli) image() string {
	name := testenv.Unique("made")
	c.t.Cleanup(func() { c.do("rmi", "-f", name) }) // it may not have been made
	return name
}

func TestCommit(t *testing.T) {
	for _, running := range []bool{true, false} {
		name := map[bool]string{true: "running", false: "stopped"}[running]
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				made, box := c.image(), c.container()
				c.ok("run", "-d", "--name", box, "-e", "A=b", "-w", "/tmp", "-v", "/vol", "busybox", "sh", "-c",
					"echo new > /new; rm /bin/ls; mkdir -p /d/e; chmod 700 /d; ln -s new /l; echo v > /vol/v; touch /ready; exec sleep 600")
				c.until("ready", func(s string) bool { return strings.Contains(s, "/ready") }, "diff", box)
				if !running {
					c.ok("stop", "-t", "0", box)
				}
				id := c.ok("commit", "-a", "me", "-m", "why", "-c", "CMD [\"cat\", \"/new\"]", "--change", "LABEL x=y", box, made+":v1")
				equal(t, "id", c.ok("inspect", "-f", "{{.Id}}", made+":v1"), id)
				equal(t, "config", c.ok("inspect", "-f", "{{.Author}} {{.Comment}} {{.Config.Cmd}} {{.Config.Labels.x}} {{.Config.WorkingDir}} {{len .RootFS.Layers}}", made+":v1"),
					"me why [cat /new] y /tmp 2")
				equal(t, "state", c.ok("inspect", "-f", "{{.State.Paused}} {{.State.Running}}", box), map[bool]string{true: "false true", false: "false false"}[running])
				equal(t, "run", c.ok("run", "--rm", made+":v1"), "new")
				equal(t, "files", c.ok("run", "--rm", made+":v1", "sh", "-c", "echo $A; stat -c '%a' /d; readlink /l; [ -e /bin/ls ] || echo no ls; [ -e /vol/v ] || echo no volume"),
					"b\n700\nnew\nno ls\nno volume")
				matches(t, "history", c.ok("history", "--no-trunc", "--format", "{{.Comment}}", made+":v1"), "^why\n")
				c.ok("rmi", made+":v1")
			})
		})
	}
}

func TestCommitErrors(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		box := c.background()
		matches(t, "message", c.fails(1, "commit", "none"), "No such container: none")
		matches(t, "message", c.fails(1, "commit", "-c", "RUN x", box), "(?i)run is not a valid change command")
		matches(t, "message", c.fails(1, "commit", box, "UPPER"), "(?i)invalid reference format|must be lowercase")
	})
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		made, box := c.image(), c.container()
		c.ok("run", "--name", box, "busybox", "sh", "-c", "echo exported > /f")
		file := filepath.Join(t.TempDir(), "fs.tar")
		c.ok("export", "-o", file, box)
		id := c.ok("import", "-m", "taken in", "-c", "ENTRYPOINT [\"cat\"]", "-c", "CMD [\"/f\"]", file, made)
		lines := strings.Split(strings.TrimSpace(id), "\n")
		equal(t, "id", c.ok("inspect", "-f", "{{.Id}} {{len .RootFS.Layers}} {{.Comment}}", made), lines[len(lines)-1]+" 1 taken in")
		equal(t, "run", c.ok("run", "--rm", made), "exported")
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if r := c.doIn(f, "import", "-", made+":stdin"); r.code != 0 {
			t.Errorf("import -: %s", r.stderr)
		}
		equal(t, "run", c.ok("run", "--rm", made+":stdin", "cat", "/f"), "exported")
		c.ok("rmi", made+":stdin")
	})
}
