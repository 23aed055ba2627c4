package oci

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/testenv"
)

// TestGroupOfAnother: a container does not get the group of another one, and the
// attempt changes nothing there.
func TestGroupOfAnother(t *testing.T) {
	path := cgroupRoot + "/" + testenv.Unique("pod") + "/box"
	c := background(t, func(s *specs.Spec) {
		s.Linux.CgroupsPath = path
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](77)}
	})
	plain := newRuntime(t)
	rootless, err := New(Options{Root: t.TempDir(), Rootless: ptr(true), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Runtime{"root": plain, "user": rootless} {
		for _, other := range []string{path, filepath.Dir(path)} {
			spec := newSpec("true")
			spec.Linux.CgroupsPath, spec.Linux.Resources.Pids = other, &specs.LinuxPids{Limit: ptr[int64](88)}
			id := testenv.Unique("late")
			if _, _, err := r.Run(t.Context(), id, CreateOptions{Bundle: newBundle(t), Spec: spec}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("%s, %s: got %v", name, other, err)
			}
			// What a caller does after such a failure.
			if err := r.Delete(t.Context(), id, true); err != nil {
				t.Error(err)
			}
			requireNoTrace(t, r, id)
		}
	}
	if got := limit(t, c, "pids", "pids.max", "pids.max"); got != "77" {
		t.Errorf("its limit of processes is %s", got)
	}
	if res, err := execIn(t, c, newProcess("echo", "alive")); err != nil || res.out != "alive\n" {
		t.Errorf("%+v, %v", res, err)
	}
	// Beside and below it there is room for others.
	for _, other := range []string{filepath.Dir(path) + "/other", path + "/below"} {
		spec := newSpec("echo", "runs")
		spec.Linux.CgroupsPath = other
		if res, err := runSpec(t, plain, CreateOptions{Bundle: newBundle(t), Spec: spec}); err != nil || res.out != "runs\n" {
			t.Errorf("%s: %+v, %v", other, res, err)
		}
	}
}

// TestGroupLeftOver: an empty group is taken over, unless it is frozen.
func TestGroupLeftOver(t *testing.T) {
	r, spec := newRuntime(t), newSpec("echo", "runs")
	group, err := cgroup.Locate(spec.Linux.CgroupsPath, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Create(&cgroup.Resources{}); err != nil {
		t.Fatal(err)
	}
	if err := group.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("frozen: got %v", err)
	}
	if _, err := os.Stat(group.Freezer()); err != nil {
		t.Errorf("frozen: %v", err)
	}
	if err := group.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec}); err != nil || res.out != "runs\n" {
		t.Errorf("empty: %+v, %v", res, err)
	}
	if _, err := os.Stat(group.Freezer()); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

// TestRefusedGroupLeavesNothing: of a group that cannot be made nothing is left, and
// what was there stays.
func TestRefusedGroupLeavesNothing(t *testing.T) {
	c := background(t, nil)
	used := c.Cgroup()
	fresh, err := cgroup.Locate(cgroupRoot+"/"+testenv.Unique("part"), "")
	if err != nil {
		t.Fatal(err)
	}
	mixed := fresh // the used group in one hierarchy, a new one in the others
	mixed.Unified = used.Unified
	if len(mixed.V1) > 0 && mixed.Unified == "" {
		mixed.V1["pids"] = used.V1["pids"]
	}
	if err := mixed.Create(&cgroup.Resources{}); !errs.Is(err, errs.Conflict) {
		t.Errorf("got %v", err)
	}
	for _, dir := range fresh.V1 {
		if _, err := os.Stat(dir); dir != used.V1["pids"] && !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if pids, err := used.Pids(); err != nil || len(pids) != 1 {
		t.Errorf("used: %v, %v", pids, err)
	}
}
