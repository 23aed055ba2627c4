package runtimecli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestCheckpointCommands moves a container that counts through files, with pipes
// instead of files for output, which are of the machine and stay there.
func TestCheckpointCommands(t *testing.T) {
	f := newFixture(t, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done")
	testenv.Need(t, testenv.CRIU)
	dir := t.TempDir()
	images, pidFile := filepath.Join(dir, "images"), filepath.Join(dir, "pid")
	piped := func(args ...string) *bytes.Buffer {
		var out bytes.Buffer
		cmd := f.command(args...)
		cmd.Stdout = &out // by a pipe
		cmd.WaitDelay = time.Second
		_ = cmd.Run() // the container has the pipe still: ErrWaitDelay
		return &out
	}
	first := piped("run", "--detach", "c")
	f.want("", 0, "checkpoint", "--image-path", images, "--leave-running", "--file-locks", "c")
	f.want("c\n", 0, "list", "-q")
	f.want("", 0, "checkpoint", "--image-path", images, "--work-path", filepath.Join(dir, "work"), "c")
	f.want("", 0, "list", "-q")
	second := piped("restore", "--detach", "--image-path", images, "--pid-file", pidFile, "c")
	f.want("c\n", 0, "list", "-q")
	pid, err := os.ReadFile(pidFile)
	if n, perr := strconv.Atoi(string(pid)); err != nil || perr != nil || n < 1 {
		t.Errorf("pid file %q, %v", pid, err)
	}
	if out, _, code := f.cli("exec", "c", "echo", "in"); out != "in\n" || code != 0 {
		t.Errorf("exec: %q, %d", out, code)
	}
	f.want("", 0, "delete", "--force", "c")
	if !strings.HasPrefix(first.String(), "1\n") || !strings.HasSuffix(second.String(), "\n") || strings.HasPrefix(second.String(), "1\n") {
		t.Errorf("it said %q and then %q", first, second)
	}

	// In the foreground the exit code is the restored process's.
	cmd := f.command("restore", "--image-path", images, "fg")
	out, err := cmd.StdoutPipe()
	f.must(err)
	f.must(cmd.Start())
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Errorf("it says nothing: %v", err)
	}
	f.want("", 0, "kill", "fg", "KILL")
	_, _ = io.Copy(io.Discard, out) // until it has ended
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 137 {
		t.Errorf("exit code of the foreground: %v", err)
	}
	f.want("", 0, "list", "-q")
}

func TestCheckpointErrors(t *testing.T) {
	testenv.Need(t, testenv.Root)
	f := newFixture(t, "sleep", "1000")
	f.want("", 0, "run", "--detach", "c")
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"container does not exist", []string{"checkpoint", "nope"}},
		{"is not supported", []string{"checkpoint", "--empty-ns", "pid", "c"}},
		{"use --page-server ADDRESS:PORT", []string{"checkpoint", "--page-server", "nowhere", "c"}},
		{"must be relative to the images", []string{"checkpoint", "--parent-path", "/abs", "c"}},
		{"invalid manage-cgroups-mode", []string{"checkpoint", "--manage-cgroups-mode", "x", "c"}},
		{"find criu", []string{"--criu", "/no/such", "checkpoint", "c"}},
		{"criu died", []string{"--criu", "/bin/true", "checkpoint", "c"}},
		{"no such file or directory", []string{"restore", "--image-path", filepath.Join(f.root, "none"), "d"}},
	} {
		if _, errs, code := f.cli(tc.args...); code != 1 || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: got %q, exit code %d", tc.args, errs, code)
		}
	}
	f.want("c\n", 0, "list", "-q")
	f.want("", 0, "delete", "--force", "c")
	for _, verb := range []string{"checkpoint", "restore"} { // podman asks whether there is such a command
		if out, _, code := f.cli(verb, "--help"); code != 0 || !strings.Contains(out, "-image-path") {
			t.Errorf("%s --help: %q, exit code %d", verb, out, code)
		}
	}
}
