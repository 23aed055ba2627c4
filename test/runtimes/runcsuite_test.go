package runtimes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// runcModule pins runc by its checksum and lists the programs of its tests as its
// tools; a module of its own keeps their dependencies out of ours.
const runcModule = "runcsuite"

// suiteScript prepares the images, and the sandbox of a file of tests.
const suiteScript = runcModule + "/suite.sh"

// skippedFiles are files of runc's tests that say nothing here, and why.
var skippedFiles = map[string]string{
	"checkpoint":            "Debian's criu cannot read newer kernels; TestCheckpoint runs where it can",
	"mounts_sshfs":          "there is no ssh server",
	"netdev":                "the test machines' kernels have no dummy devices",
	"rlimits":               "they raise a hard limit, for which the test machines have no CAP_SYS_RESOURCE",
	"seccomp-notify-compat": "it is for kernels before 5.6",
	"selinux":               "the test machines have no SELinux",
}

// slowFiles are left out unless RUNC_SUITE is all.
var slowFiles = []string{"events", "idmap"}

// TestRunc runs runc's own integration tests (bats), which are fetched as a Go module,
// with Gantry's runtime by the name of runc. What does not pass is in
// knownRuncFailures, with the reason, or is a bug.
func TestRunc(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"), testenv.File("/usr/bin/bats"), testenv.File("/usr/bin/gawk"))
	dir, err := os.MkdirTemp("", "runc-") // not the test's own: sockets have short paths, and others enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left there shows as a leaked mount
	suite := makeRuncSuite(t, dir)
	files, err := filepath.Glob(filepath.Join(suite, "*.bats"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s, %v", suite, err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".bats")
		seen[name] = true
		if skippedFiles[name] != "" || slices.Contains(slowFiles, name) && os.Getenv("RUNC_SUITE") != "all" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel() // much of their time they wait
			failed, passed := runBats(t, dir, name)
			if slices.ContainsFunc(failed, func(test string) bool { return knownRuncFailures[name][test] == "" }) {
				failed, passed = runBats(t, dir, name) // a busy machine loses races
			}
			compareRuncFailures(t, name, failed, passed)
		})
	}
	for name := range knownRuncFailures {
		if !seen[name] {
			t.Errorf("there is no file %s any more", name)
		}
	}
	for name := range skippedFiles {
		if !seen[name] {
			t.Errorf("there is no file %s any more", name)
		}
	}
}

// makeRuncSuite copies the tests to dir, builds their programs and makes their images.
// It gives the directory with the files of tests.
func makeRuncSuite(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "tests/cmd/_bin")
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runc")
	list.Dir = runcModule
	source, err := list.Output()
	if err != nil || len(source) < 2 {
		// The module is there once something of it has been built.
		t.Fatalf("find the sources of runc: %v", err)
	}
	script := exec.Command("sh", suiteScript, "prepare", dir, strings.TrimSpace(string(source)), validatedRuntime())
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("prepare the tests: %v: %s", err, out)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", "seccomp", "-o", bin+"/", "tool")
	build.Dir, build.Env = runcModule, append(os.Environ(), "CGO_ENABLED=1") // for libseccomp
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v: %s", err, out)
	}
	return filepath.Join(dir, "tests/integration")
}

// tapLine is the result of one test; what it has in place of the second group is why it was skipped.
var tapLine = regexp.MustCompile(`(?m)^(ok|not ok) \d+ (.*?)\s*( # skip.*)?$`)

// runBats gives the tests of a file that failed and those that passed; skipped ones are neither.
func runBats(t *testing.T, dir, name string) (failed, passed []string) {
	t.Helper()
	cgroup := os.Getenv(cgroupEnv) + "/runc-" + name
	out, err := exec.Command("sh", suiteScript, "run", dir, cgroup, name).CombinedOutput()
	t.Logf("%v\n%s", err, out)
	for _, m := range tapLine.FindAllStringSubmatch(string(out), -1) {
		switch {
		case m[1] == "not ok":
			failed = append(failed, m[2])
		case m[3] == "":
			passed = append(passed, m[2])
		}
	}
	plan := regexp.MustCompile(`(?m)^1\.\.(\d+)$`).FindStringSubmatch(string(out))
	if plan == nil || err != nil && len(failed) == 0 {
		failed = append(failed, wholeProgram)
	}
	return failed, passed
}

// compareRuncFailures demands that the known tests of a file fail and no others.
func compareRuncFailures(t *testing.T, name string, failed, passed []string) {
	t.Helper()
	known := knownRuncFailures[name]
	for _, f := range failed {
		if _, ok := known[f]; !ok {
			t.Errorf("fails: %s", f)
		}
	}
	for test, reason := range known {
		if slices.Contains(passed, test) && !strings.HasPrefix(reason, race) && !strings.HasPrefix(reason, lacking) {
			t.Errorf("no longer fails: %s (%s): take it out of the list", test, reason)
		}
		if !slices.Contains(passed, test) && !slices.Contains(failed, test) && !strings.HasPrefix(reason, lacking) {
			t.Errorf("is skipped or no more: %s (%s)", test, reason)
		}
	}
}
