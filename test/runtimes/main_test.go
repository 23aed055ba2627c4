package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// world is what the whole suite shares; set once before the first test.
var world struct {
	runtime string // gantry-runtime
	dir     string
	image   string // a Docker archive of busybox:latest
}

const cgroupEnv = "RUNTIMES_CGROUP"

func TestMain(m *testing.M) {
	if os.Getenv(cgroupEnv) == "" {
		if err := os.Setenv(cgroupEnv, "/"+testenv.Unique("runtimes")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	cgroup := os.Getenv(cgroupEnv)
	testenv.Main(m, testenv.Options{
		Namespaces: testenv.Mount | testenv.Net | testenv.PID,
		Gates:      []testenv.Gate{testenv.Mounts, testenv.Processes},
		Setup:      setup,
		After:      func() error { return testenv.RemoveCgroups(cgroup) },
	})
}

func setup() (func() error, error) {
	if os.Geteuid() != 0 {
		return nil, nil // every test skips itself
	}
	dir, err := os.MkdirTemp("", "runtimes-*")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // an ordinary user runs it too
		return nil, err
	}
	world.dir, world.image = dir, filepath.Join(dir, "busybox.tar")
	world.runtime = filepath.Join(dir, "gantry-runtime")
	tool, err := testimage.BuildTool("gantry-runtime", "./cmd/gantry-runtime")
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command("cp", tool, world.runtime).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the runtime: %w: %s", err, out)
	}
	img, err := testimage.Busybox(testimage.Docker, testimage.Gzip)
	if err != nil {
		return nil, err
	}
	tagged := testimage.Tagged{Image: img, Names: []string{"docker.io/library/busybox:latest"}}
	if err := testimage.WriteFile(world.image, func(w io.Writer) error { return testimage.WriteDockerArchive(w, tagged) }); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(dir) }, nil
}

// driver is a program that starts containers with the runtime.
type driver struct {
	t    *testing.T
	args []string
	env  []string
	dir  string
}

const timeout = time.Minute

// run gives output and exit code of a command; the two streams are one.
func (d *driver) run(args ...string) (string, int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	all := append(append([]string(nil), d.args...), args...)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), d.env...), d.dir
	// A file, not a pipe: a container in the background keeps what it inherits.
	file, err := os.Create(filepath.Join(d.t.TempDir(), "out"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // read again below
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	out, rerr := os.ReadFile(file.Name())
	if _, exited := errors.AsType[*exec.ExitError](err); ctx.Err() != nil || rerr != nil || err != nil && !exited {
		d.t.Fatalf("%q: %v\n%s", args, errors.Join(err, rerr, ctx.Err()), out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// ok runs a command that must succeed and whose output must match.
func (d *driver) ok(pattern string, args ...string) string {
	d.t.Helper()
	return d.fails(0, pattern, args...)
}

// fails runs a command that must end with code.
func (d *driver) fails(code int, pattern string, args ...string) string {
	d.t.Helper()
	out, got := d.run(args...)
	if got != code || !regexp.MustCompile(pattern).MatchString(out) {
		d.t.Errorf("%s: exit code %d, want %d and output that matches %s:\n%s", strings.Join(args, " "), got, code, pattern, out)
	}
	return out
}

// serve starts the daemon that the driver is a client of, waits until it answers,
// and ends it with the test.
func (d *driver) serve(daemon *exec.Cmd) {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.t.TempDir(), "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := daemon.Process.Signal(unix.SIGTERM); err != nil {
			d.t.Error(err)
		}
		_ = daemon.Wait() // how it ends is its affair
		if err := log.Close(); err != nil {
			d.t.Error(err)
		}
		if d.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			d.t.Logf("%s: %s", daemon.Args[0], text)
		}
	})
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out, code := d.run("version")
		if code == 0 {
			return
		}
		if time.Since(start) > timeout {
			d.t.Fatalf("%s does not answer: %s", daemon.Args[0], out)
		}
	}
}
