// The settings spare the Go runtime reading the mount table at start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command gantry is the command line of Gantry. Called as docker, it shows
// that name and is otherwise the same.
package main

import (
	"github.com/gantry-run/gantry/internal/cli"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/version"
)

func main() {
	cli.Exit(session.Build{Version: version.Version, Commit: version.Commit, Time: version.BuildTime})
}
