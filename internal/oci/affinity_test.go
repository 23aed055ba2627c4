package oci

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMemoryPolicy(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/proc/self/numa_maps"))
	const first = "head -n 1 /proc/self/numa_maps | { read a b c; echo $b; }"
	policy := &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	for name, edit := range map[string]func(*specs.Spec){"thread": func(*specs.Spec) {}, "process": withHook} {
		res := run(t, first, func(s *specs.Spec) { edit(s); s.Linux.MemoryPolicy = policy })
		if res.out != "bind=static:0\n" {
			t.Errorf("%s: got %+v", name, res)
		}
	}
	c := background(t, func(s *specs.Spec) { s.Linux.MemoryPolicy = policy })
	if res, err := execIn(t, c, newProcess("sh", "-c", first)); err != nil || res.out != "bind=static:0\n" {
		t.Errorf("exec: got %+v, %v", res, err)
	}
	if res := run(t, first, nil); res.out != "default\n" {
		t.Errorf("none: got %+v", res)
	}
	spec := newSpec("true")
	spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind}
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec}); err == nil || err.Error() != "error setting memory policy: invalid argument" {
		t.Errorf("no nodes: got %v", err)
	}
}

// TestExecAffinity: what an exec says about its CPUs counts, else what its
// container does; the container's own program is not concerned.
func TestExecAffinity(t *testing.T) {
	const allowed = "grep Cpus_allowed_list: /proc/self/status | { read a b; echo $b; }"
	last := fmt.Sprint(runtime.NumCPU() - 1)
	for name, namespaces := range map[string][]specs.LinuxNamespace{"thread": nil, "process": {{Type: specs.TimeNamespace}}} {
		t.Run(name, func(t *testing.T) {
			s := newStreams(t, "")
			r := newRuntime(t)
			spec := newSpec("sh", "-c", allowed+"; sleep 1000")
			spec.Linux.Namespaces = append(spec.Linux.Namespaces, namespaces...)
			spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: last}
			c := startOf(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec, IO: s.io})
			s.handed()
			try := func(a *specs.CPUAffinity) (string, error) {
				p := newProcess("sh", "-c", allowed)
				p.ExecCPUAffinity = a
				res, err := execIn(t, c, p)
				return strings.TrimSpace(res.out), err
			}
			if got, err := try(nil); err != nil || got != last {
				t.Errorf("the container's: got %q, %v", got, err)
			}
			if got, err := try(&specs.CPUAffinity{Initial: last, Final: "0"}); err != nil || got != "0" {
				t.Errorf("its own: got %q, %v", got, err)
			}
			// What becomes of it in the cgroup is the kernel's affair.
			if got, err := try(&specs.CPUAffinity{Initial: "0"}); err != nil || got != "0" && got != "0-"+last {
				t.Errorf("initial only: got %q, %v", got, err)
			}
			if got, err := try(&specs.CPUAffinity{Final: "8000"}); err == nil || err.Error() != "error setting CPU affinity: invalid argument" {
				t.Errorf("a CPU that is not there: got %q, %v", got, err)
			}
			if _, err := try(&specs.CPUAffinity{Initial: "x"}); !errs.Is(err, errs.InvalidArgument) {
				t.Errorf("no list: got %v", err)
			}
			if err := c.Delete(t.Context(), true); err != nil {
				t.Error(err)
			}
			s.done()
			if want := fmt.Sprintf("0-%s\n", last); s.out.String() != want && last != "0" {
				t.Errorf("the container itself: got %q", s.out.String())
			}
		})
	}
}

// TestAffinityIsReset: a container has all CPUs of its cgroup, whatever the runtime was
// restricted to.
func TestAffinityIsReset(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if runtime.NumCPU() < 2 {
		t.Skip("needs 2 CPUs")
	}
	const allowed = "grep Cpus_allowed_list: /proc/self/status | { read a b; echo $b; }"
	var before, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	first.Set(0)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	restrict := func(set *unix.CPUSet) {
		for _, thread := range threads {
			if id, err := strconv.Atoi(thread.Name()); err == nil {
				_ = unix.SchedSetaffinity(id, set) // it may have ended
			}
		}
	}
	restrict(&first)
	defer restrict(&before)
	want := fmt.Sprintf("0-%d\n", runtime.NumCPU()-1)
	for name, edit := range map[string]func(*specs.Spec){"thread": nil, "process": withHook} {
		if res := run(t, allowed, edit); res.out != want {
			t.Errorf("%s: got %+v", name, res)
		}
	}
	if res, err := execIn(t, background(t, nil), newProcess("sh", "-c", allowed)); err != nil || res.out != want {
		t.Errorf("exec: got %+v, %v", res, err)
	}
	if res := run(t, allowed, func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1"} }); res.out != "1\n" {
		t.Errorf("with a cpuset: got %+v", res)
	}
}
