package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the table of commands")

// differs says how flags that are there differ from Docker's. The key is a flag
// of all commands that have it, or of one.
var differs = map[string]string{
	"--disable-content-trust":    "accepted without effect: content trust ended with its server",
	"--kernel-memory":            "accepted without effect, as the kernel has none any more",
	"--cpu-count":                "refused, for Windows only",
	"--cpu-percent":              "refused, for Windows only",
	"--io-maxbandwidth":          "refused, for Windows only",
	"--io-maxiops":               "refused, for Windows only",
	"--runtime":                  "`gantry-runtime`, also called `runc` and `io.containerd.runc.v2`, is the only one",
	"--volume-driver":            "`local` is the only one",
	"--isolation":                "`default` is the only one",
	"container create --network": "the network must exist at create, not only at start",
	"container run --network":    "the network must exist",
	"container create --log-opt": "wrong values are refused by create, not by start",
	"--gpus":                     "through CDI: any vendor's devices of the class `gpu`",
	"container create --link":    "with `--icc=false` it opens no ports",
	"container run --link":       "with `--icc=false` it opens no ports",
	"container update --memory":  "also without `--memory-swap` for a container without limit: swap becomes twice as much",
	"container commit --pause":   "also as `--no-pause`, the newer name",
	"docker --context":           "contexts are read, but there are no commands to change them",
}

// unserved are commands whose endpoints the engine does not have yet.
var unserved = []string{"network connect", "network create", "network disconnect", "network rm"}

// dockerCommand is a command of Docker's CLI.
type dockerCommand struct {
	path, aliases string
	flags         []string
}

// TestCommandTableIsCurrent holds the table of commands and flags against the
// command tree; -update rewrites it.
func TestCommandTableIsCurrent(t *testing.T) {
	testenv.Section(t, "../../docs/reference/compatibility.md", "commands", commandTable(t), *update,
		"go test ./internal/cli -run CommandTable -update")
}

func dockerCommands(t *testing.T) []dockerCommand {
	t.Helper()
	data, err := os.ReadFile("testdata/docker-commands.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var all []dockerCommand
	for line := range strings.Lines(string(data)) {
		col := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if col[1] == "=" {
			all = append(all, dockerCommand{path: col[0], aliases: strings.TrimPrefix(col[2], col[0]+", ")})
			continue
		}
		last := &all[len(all)-1]
		last.flags = append(last.flags, col[1])
	}
	slices.SortFunc(all, func(a, b dockerCommand) int { return strings.Compare(a.path, b.path) })
	return all
}

// ownCommands gives the flags of every command of ours, hidden ones included.
func ownCommands() map[string][]string {
	s := session.New("docker", &stream.Stdio{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, session.Build{})
	global := pflag.NewFlagSet("docker", pflag.ContinueOnError)
	s.Opts.Register(global)
	root := newRoot(s, global)
	addAll(s, root)
	all := map[string][]string{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		flags := []string{}
		c.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) })
		path := c.CommandPath()
		if c != root {
			path = strings.TrimPrefix(path, "docker ")
		}
		all[path] = flags
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return all
}

func commandTable(t *testing.T) string {
	t.Helper()
	own, unused := ownCommands(), map[string]bool{}
	for key := range differs {
		unused[key] = true
	}
	var rows strings.Builder
	works, total := 0, 0
	for _, c := range dockerCommands(t) {
		total++
		name := "`" + c.path + "`"
		if c.aliases != "" && c.aliases != c.path {
			name += " (`" + strings.ReplaceAll(c.aliases, ", ", "`, `") + "`)"
		}
		flags, ok := own[c.path]
		if !ok || slices.Contains(unserved, c.path) {
			fmt.Fprintf(&rows, "| %s | missing | |\n", name)
			continue
		}
		works++
		var good, other []string
		for _, f := range c.flags {
			how := "missing"
			if slices.Contains(flags, f) {
				how = differs[f]
				delete(unused, f)
				if own := differs[c.path+" "+f]; own != "" {
					how = own
					delete(unused, c.path+" "+f)
				}
			}
			if how == "" {
				good = append(good, "`"+f+"`")
			} else {
				other = append(other, "`"+f+"`: "+how)
			}
		}
		fmt.Fprintf(&rows, "| %s | %s | %s |\n", name, strings.TrimSpace("works "+strings.Join(good, " ")), strings.Join(other, "; "))
	}
	for key := range unused {
		t.Errorf("%q is said to differ, but no command has it", key)
	}
	return fmt.Sprintf("%d of %d commands are there.\n\n| command | works, with the flags | flags that differ or are missing |\n|---|---|---|\n%s", works, total, rows.String())
}
