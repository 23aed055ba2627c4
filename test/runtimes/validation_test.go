package runtimes

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// validationModule lists the programs of OCI's runtime-tools as its tools; a
// module of its own keeps their dependencies out of ours.
const validationModule = "validation"

// TestValidation runs the programs by which OCI validates runtimes. They print
// TAP, a line for each check. What does not pass is in knownFailures, with the
// reason, or is a bug.
func TestValidation(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "tool")
	build.Dir, build.Env = validationModule, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v: %s", err, out)
	}
	makeValidationRoot(t, filepath.Join(dir, "rootfs-amd64.tar.gz"))
	programs, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range programs {
		name := p.Name()
		if name == "runtimetest" || strings.HasPrefix(name, "rootfs") {
			continue
		}
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			if !sharesCgroup.MatchString(name) {
				t.Parallel() // most of their time they wait
			}
			failed := validate(t, dir, name)
			if unknown(name, failed) {
				// Many checks are races that a busy machine loses (a signal that comes before
				// the program's trap, say). What is broken fails again.
				failed = validate(t, dir, name)
			}
			compareFailures(t, name, failed)
		})
	}
	for name := range knownFailures {
		if !seen[name] {
			t.Errorf("there is no program %s any more", name)
		}
	}
}

// makeValidationRoot makes the archive of the root that the programs unpack.
func makeValidationRoot(t *testing.T, archive string) {
	t.Helper()
	const script = `mkdir -p "$0/bin" "$0/dev" "$0/etc" "$0/proc" "$0/sys" "$0/tmp" && cp /bin/busybox "$0/bin/" &&
		for a in $(busybox --list); do [ $a = busybox ] || ln -s busybox "$0/bin/$a"; done && tar -czf "$1" -C "$0" .`
	if out, err := exec.Command("sh", "-c", script, t.TempDir(), archive).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// sharesCgroup matches the programs that use a cgroup of the same name.
var sharesCgroup = regexp.MustCompile(`^(linux_cgroups|delete)_`)

// What a failed check is called when its own text says less or more than that.
const (
	wholeProgram = "the whole program" // no single check of it
	inOrder      = "mounts found in order"
)

var (
	failedCheck = regexp.MustCompile(`(?m)^\s*not ok \d+(?: - )?(.*)$`)
	mountCheck  = regexp.MustCompile(`^mounts\[\d+\] \(.*\) found in order$`)
	plan        = regexp.MustCompile(`(?m)^1\.\.\d+$`)
	onlyAnError = regexp.MustCompile(`(?s)\n\s*"error": "\S.*\n1\.\.0\n`)
)

// validate gives the checks of a program that failed. One that ends in disorder,
// or has no check but reports an error, has failed as a whole.
func validate(t *testing.T, dir, program string) (failed []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./"+program)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "RUNTIME="+validatedRuntime())
	out, err := cmd.CombinedOutput()
	for _, m := range failedCheck.FindAllSubmatch(out, -1) {
		check := strings.TrimSpace(string(m[1]))
		if mountCheck.MatchString(check) {
			check = inOrder
		}
		failed = append(failed, check)
	}
	if len(failed) == 0 && (err != nil || !plan.Match(out) || onlyAnError.Match(out)) {
		failed = append(failed, wholeProgram)
	}
	if ctx.Err() != nil {
		failed = append(failed, "end in time")
	}
	t.Logf("%v\n%s", err, out)
	slices.Sort(failed)
	return slices.Compact(failed)
}

// validatedRuntime is Gantry's, or another to compare with: what fails with runc
// as well is hardly a fault of ours.
func validatedRuntime() string {
	if other := os.Getenv("RUNTIMES_VALIDATED"); other != "" {
		return other
	}
	return world.runtime
}

// unknown tells whether a check failed that is not known to.
func unknown(program string, failed []string) bool {
	return slices.ContainsFunc(failed, func(check string) bool {
		_, known := knownFailures[program][check]
		return !known
	})
}

// compareFailures demands that exactly the known checks of a program fail, those
// excepted that are a race.
func compareFailures(t *testing.T, program string, failed []string) {
	t.Helper()
	known := knownFailures[program]
	for _, f := range failed {
		if _, ok := known[f]; !ok {
			t.Errorf("fails: %s", f)
		}
	}
	for check, reason := range known {
		if !slices.Contains(failed, check) && !strings.HasPrefix(reason, race) {
			t.Errorf("no longer fails: %s (%s): take it out of the list", check, reason)
		}
	}
}
