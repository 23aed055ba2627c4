package image

import (
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// The tests have a network of their own: registries answer on its loopback and
// nothing can reach the outside.
func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Mount | testenv.Net,
		Gates:      []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts},
	})
}
