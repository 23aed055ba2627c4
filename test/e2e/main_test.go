package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// world is what the whole suite shares; set once before the first test.
var world struct {
	engine   *engine
	clients  []client
	registry *testimage.Server
	images   map[string]string // name → image ID
	archives string            // directory of the archives by name
	probe    string            // the probe program
	keep     bool
}

// cgroupEnv carries the name of the cgroup that all containers live below from
// the process outside of the sandbox, which removes it, to the one inside.
const cgroupEnv = "E2E_CGROUP"

func TestMain(m *testing.M) {
	if os.Getenv(cgroupEnv) == "" {
		must(os.Setenv(cgroupEnv, "/"+testenv.Unique("e2e")))
	}
	cgroup := os.Getenv(cgroupEnv)
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Mount | testenv.Net | testenv.PID,
		Gates:      []testenv.Gate{testenv.Mounts, testenv.Links, testenv.Processes, containerCgroups(cgroup), nftTables},
		Setup:      setup,
		After:      func() error { return testenv.RemoveCgroups(cgroup) },
	})
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func setup() (func() error, error) {
	if os.Geteuid() != 0 {
		return nil, nil // every test skips itself
	}
	dir, err := os.MkdirTemp("", "e2e-*")
	if err != nil {
		return nil, err
	}
	world.keep = os.Getenv("E2E_KEEP") != ""
	world.archives = filepath.Join(dir, "archives")
	if world.probe, err = testimage.BuildTool("probe", "./test/e2e/probe"); err != nil {
		return nil, err
	}
	if err := makeImages(); err != nil {
		return nil, fmt.Errorf("make images: %w", err)
	}
	if err := makeOutside(); err != nil {
		return nil, fmt.Errorf("make outside network: %w", err)
	}
	if world.registry, err = testimage.StartServer(testimage.ServerOptions{Stderr: os.Stderr}); err != nil {
		return nil, err
	}
	if world.clients, err = findClients(); err != nil {
		return nil, err
	}
	if world.engine, err = startEngine(filepath.Join(dir, "main"), engineOptions{}); err != nil {
		return nil, err
	}
	for _, name := range []string{"busybox", "app", "layered", "bare", "probe"} {
		if err := world.engine.load(filepath.Join(world.archives, name+".tar")); err != nil {
			return nil, fmt.Errorf("load %s: %w", name, err)
		}
	}
	return func() error {
		err := errors.Join(world.engine.stop(), world.registry.Close(), removeOutside())
		if world.keep {
			fmt.Fprintln(os.Stderr, "e2e: kept", dir)
			return err
		}
		return errors.Join(err, os.RemoveAll(dir))
	}, nil
}

// makeImages writes the archives that tests load: in Docker's format, which
// every engine reads, and some as OCI.
func makeImages() error {
	probe, err := os.ReadFile(world.probe)
	if err != nil {
		return err
	}
	build := map[string]func() (testimage.Image, error){
		"busybox": func() (testimage.Image, error) { return testimage.Busybox(testimage.Docker, testimage.Gzip) },
		"app":     func() (testimage.Image, error) { return testimage.App(testimage.Docker) },
		"layered": func() (testimage.Image, error) { return testimage.Layered(testimage.Docker) },
		"bare":    func() (testimage.Image, error) { return testimage.Bare(testimage.Docker) },
		"probe": func() (testimage.Image, error) {
			return testimage.Busybox(testimage.Docker, testimage.Gzip, testimage.File{Name: "bin/"}, testimage.File{Name: "bin/probe", Mode: 0o755, Body: probe})
		},
	}
	world.images = map[string]string{}
	for name, fn := range build {
		img, err := fn()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		world.images[name] = img.ID()
		tagged := testimage.Tagged{Image: img, Names: []string{name + ":latest"}}
		if err := testimage.WriteFile(filepath.Join(world.archives, name+".tar"), func(w io.Writer) error { return testimage.WriteDockerArchive(w, tagged) }); err != nil {
			return err
		}
	}
	return nil
}

// containerCgroups are the cgroups that containers left. The parents themselves,
// one per daemon, are the caller's (--cgroup-parent): no engine removes them.
func containerCgroups(top string) testenv.Gate {
	all := testenv.Cgroups(top)
	return gate(all.Name, func() ([]string, error) {
		list, err := all.List()
		return slices.DeleteFunc(list, func(dir string) bool {
			_, below, _ := strings.Cut(dir, top+"/")
			return !strings.Contains(below, "/")
		}), err
	})
}

// push stores an image in the suite's registry and returns its full name.
func push(t *testing.T, repo, tag string, img testimage.Image) string {
	t.Helper()
	if err := world.registry.Registry().Push(context.Background(), repo, tag, img); err != nil {
		t.Fatal(err)
	}
	return world.registry.Host + "/" + repo + ":" + tag
}

// needEngine skips unless the suite's engine is the named one.
func needEngine(t *testing.T, kind string) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if world.engine.kind != kind {
		t.Skipf("needs engine %s: the suite runs %s", kind, world.engine.kind)
	}
}

// short cuts an image ID or container ID to the form that tables show.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
