package image

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// The tests have a network of their own: registries answer on its loopback and
// nothing can reach the outside.
func TestMain(m *testing.M) {
	RedirectLogs(slog.New(slog.DiscardHandler))
	if job := os.Getenv(crashEnv); job != "" {
		fmt.Fprintln(os.Stderr, crashVictim(job))
		os.Exit(1)
	}
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Mount | testenv.Net,
		Setup: func() (func() error, error) {
			// The content store's probe of fs-verity leaves a file to the finalizer.
			return func() error { runtime.GC(); return nil }, nil
		},
		Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts},
	})
}
