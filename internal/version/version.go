// Package version tells which build this is. Standard library only; the linker
// sets the variables.
package version

import "runtime"

// Set by -ldflags -X at build.
var (
	Version   = "0.1.0-dev"
	Commit    = "unknown"
	BuildTime = "unknown"
)

// API is the newest Engine API version that the daemon speaks, as moby/api
// v1.56 defines it. MinAPI is the oldest: Docker 19.03's.
const (
	API    = "1.56"
	MinAPI = "1.40"
)

// Go is the toolchain's version.
func Go() string { return runtime.Version() }
