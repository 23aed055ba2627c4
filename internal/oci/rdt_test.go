package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/resctrl"
	"github.com/gantry-run/gantry/internal/testenv"
)

// TestIntelRdt puts processes into groups below a directory that stands for the
// filesystem, which few machines have.
func TestIntelRdt(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	groups := t.TempDir()
	r, err := New(Options{Root: t.TempDir(), Resctrl: groups})
	if err != nil {
		t.Fatal(err)
	}
	spec := newSpec("sleep", "1000")
	spec.Linux.IntelRdt = &specs.LinuxIntelRdt{Schemata: []string{"MB:0=50"}}
	id := testenv.Unique("rdt")
	c, p, err := r.Run(t.Context(), id, CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	requireFile := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(groups, id, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	requireFile("schemata", "MB:0=50\n")
	requireFile("tasks", fmt.Sprint(p.Pid))
	if loaded, err := r.Load(id); err != nil {
		t.Error(err)
	} else {
		c = loaded // as another process has it
	}
	if err := c.UpdateRdt(&specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=20"}); err != nil {
		t.Error(err)
	}
	requireFile("schemata", "L3:0=f\nMB:0=20\n")
	if err := c.UpdateRdt(&specs.LinuxIntelRdt{MemBwSchema: "20"}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("bad schema: got %v", err)
	}
	e, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("true")})
	if err != nil {
		t.Fatal(err)
	}
	requireFile("tasks", fmt.Sprint(e.Pid))
	wait(t, e)
	if err := c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
	wait(t, p)
	// A container that does not come to life leaves no group.
	spec = newSpec("/no/such/program")
	spec.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"MB:0=50"}}
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	if _, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec}); err == nil {
		t.Error("it was started")
	}
	if left, err := os.ReadDir(groups); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestIntelRdtWithoutResctrl(t *testing.T) {
	c := background(t, nil)
	if err := c.UpdateRdt(&specs.LinuxIntelRdt{MemBwSchema: "MB:0=20"}); !errs.Is(err, errs.Conflict) {
		t.Errorf("update: got %v", err)
	}
	if _, err := resctrl.Find(); err == nil {
		return // this machine has what the test is about the lack of
	}
	spec := newSpec("true")
	spec.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold"}
	_, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err == nil || err.Error() != "intelRdt: no resctrl filesystem is mounted on this machine" || !errs.Is(err, errs.Unsupported) {
		t.Errorf("got %v", err)
	}
}
