// Command gantry is the command line of Gantry. Called as docker, it shows
// that name and is otherwise the same.
package main

import (
	"github.com/gantry-run/gantry/internal/cli"
	"github.com/gantry-run/gantry/internal/cli/session"
)

// Set at link time.
var (
	version = "0.1.0-dev"
	commit  = "unknown"
	built   = ""
)

func main() {
	cli.Exit(session.Build{Version: version, Commit: commit, Time: built})
}
