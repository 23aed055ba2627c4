// The settings spare the Go runtime reading the mount table at start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command gantry-runtime is the OCI runtime with runc's command line, the init
// of every container, and the supervisor of the daemon's containers.
package main

import (
	"os"
	"path/filepath"

	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/pidone"
	"github.com/gantry-run/gantry/internal/runtimecli"
	"github.com/gantry-run/gantry/internal/supervisor"
)

// init is the only code that is sure to run on the main thread.
func init() { boot.LockMainThread() }

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == boot.Verb {
		os.Exit(boot.Main(args[1:]))
	}
	if filepath.Base(os.Args[0]) == pidone.Name {
		os.Exit(pidone.Main(args))
	}
	if len(args) > 0 && args[0] == "supervise" {
		os.Exit(supervisor.Main(args[1:]))
	}
	os.Exit(runtimecli.Main(args))
}
