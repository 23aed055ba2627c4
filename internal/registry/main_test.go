package registry

import (
	"log/slog"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo).Writer())
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Net,
		Setup:      nameFile,
		Gates:      []testenv.Gate{testenv.FDs, testenv.Goroutines},
	})
}
