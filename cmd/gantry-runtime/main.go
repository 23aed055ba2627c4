// Command gantry-runtime is the OCI runtime with runc's command line, and the
// init of every container.
package main

import (
	"os"

	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/runtimecli"
)

// init is the only code that is sure to run on the main thread.
func init() { boot.LockMainThread() }

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == boot.Verb {
		os.Exit(boot.Main(args[1:]))
	}
	os.Exit(runtimecli.Main(args))
}
