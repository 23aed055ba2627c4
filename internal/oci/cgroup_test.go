package oci

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/testenv"
)

func ptr[T any](v T) *T { return &v }

// limit reads a limit of a container by its v1 or v2 name.
func limit(t *testing.T, c *Container, controller, v1, v2 string) string {
	t.Helper()
	file := filepath.Join(c.state.Cgroup.V1[controller], v1)
	if c.state.Cgroup.V2() {
		file = filepath.Join(c.state.Cgroup.Unified, v2)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(data))
}

func TestLimitsAndUpdate(t *testing.T) {
	c := background(t, func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr[int64](64 << 20)}
		s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr[int64](50000), Period: ptr[uint64](100000), Shares: ptr[uint64](512)}
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](77)}
	})
	if got := limit(t, c, "memory", "memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("memory %s", got)
	}
	if got := limit(t, c, "pids", "pids.max", "pids.max"); got != "77" {
		t.Errorf("pids %s", got)
	}
	if got := limit(t, c, "cpu", "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
		t.Errorf("cpu %s", got)
	}
	if err := c.Update(t.Context(), &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](128 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}}); err != nil {
		t.Fatal(err)
	}
	if got := limit(t, c, "memory", "memory.limit_in_bytes", "memory.max"); got != "134217728" {
		t.Errorf("memory after update %s", got)
	}
	if got := limit(t, c, "pids", "pids.max", "pids.max"); got != "max" {
		t.Errorf("pids after update %s", got)
	}
	if got := limit(t, c, "cpu", "cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "50000") {
		t.Errorf("cpu after an update of other things %s", got)
	}
	if err := c.Update(t.Context(), &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "999"}}); err == nil {
		t.Error("CPU 999 was accepted")
	}
	stats, err := c.Stats()
	if err != nil || stats.MemoryStats.Usage.Limit != 128<<20 || stats.PidsStats.Current == 0 || stats.CpuStats.CpuUsage.TotalUsage == 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestOOMKilled(t *testing.T) {
	r := newRuntime(t)
	spec := newSpec("sh", "-c", "tail /dev/zero") // keeps all that it reads
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr[int64](16 << 20), Swap: ptr[int64](16 << 20)}
	c, p, err := r.Run(t.Context(), "oom", CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	watch := watchScope(t, c)
	if code := wait(t, p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if !c.OOMKilled() {
		t.Error("it does not say so")
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	if !watch.Killed() {
		t.Error("it is forgotten with the group")
	}
	healthy := background(t, nil)
	watch = watchScope(t, healthy)
	if healthy.OOMKilled() {
		t.Error("a healthy container says so")
	}
	if err := healthy.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
	if watch.Killed() {
		t.Error("the end of a group is taken for a lack of memory")
	}
	var none *OOMWatch
	if none.Close(); none.Killed() {
		t.Error("nobody watches, and says so")
	}
}

// watchScope watches a group as if systemd had made it.
func watchScope(t *testing.T, c *Container) *OOMWatch {
	t.Helper()
	if w, err := c.WatchOOM(); w != nil || err != nil {
		t.Errorf("a group of our own is watched: %v", err)
	}
	g := c.Cgroup()
	g.Scope = &cgroup.Scope{}
	w, err := g.WatchOOM()
	if err != nil || w == nil {
		t.Fatalf("%v, %v", w, err)
	}
	t.Cleanup(w.Close)
	return w
}

// TestTightLimits sets limits that init itself, a program with several threads
// and megabytes of memory, could not live with.
func TestTightLimits(t *testing.T) {
	res := run(t, "echo alive", func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](1)} })
	if res.out != "alive\n" {
		t.Errorf("one process: got %+v", res)
	}
	res = run(t, "true | true; echo $?", func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](1)} })
	if !strings.Contains(res.err, "fork") {
		t.Errorf("the limit does not hold: got %+v", res)
	}
	if raceEnabled {
		return // init itself needs more memory then
	}
	res = run(t, "echo alive", func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr[int64](4 << 20), Swap: ptr[int64](4 << 20)}
	})
	if res.out != "alive\n" {
		t.Errorf("4 MiB: got %+v", res)
	}
}

// TestUpdateBeforeStart changes a limit of processes that was left for start to set.
func TestUpdateBeforeStart(t *testing.T) {
	for update, want := range map[int64]string{100: "100", 7: "7", -1: "max"} {
		r, id := newRuntime(t), testenv.Unique("late")
		spec := newSpec("sleep", "1000")
		spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](5)}
		created, p, err := r.Create(t.Context(), id, CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := created.Delete(context.Background(), true); err != nil {
				t.Error(err)
			}
			wait(t, p)
		})
		load := func() *Container { // as each command does
			c, err := r.Load(id)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		early := load()
		if err := load().Update(t.Context(), &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &update}}); err != nil {
			t.Fatal(err)
		}
		if err := early.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := limit(t, created, "pids", "pids.max", "pids.max"); got != want {
			t.Errorf("5, updated to %d: got %s", update, got)
		}
		if err := load().Update(t.Context(), &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](9)}}); err != nil {
			t.Fatal(err)
		}
		if got := limit(t, created, "pids", "pids.max", "pids.max"); got != "9" {
			t.Errorf("updated to 9 after start: got %s", got)
		}
	}
}

func TestDeviceUpdate(t *testing.T) {
	c := background(t, func(s *specs.Spec) {
		s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_SYSLOG")
	})
	try := func() string {
		p := newProcess("sh", "-c", "mknod /tmp/k c 1 11 2>/dev/null; head -c 0 /tmp/k")
		p.Capabilities.Bounding = append(p.Capabilities.Bounding, "CAP_SYSLOG")
		p.Capabilities.Effective, p.Capabilities.Permitted = p.Capabilities.Bounding, p.Capabilities.Bounding
		res, err := execIn(t, c, p)
		if err != nil {
			t.Fatal(err)
		}
		return res.err
	}
	if got := try(); !strings.Contains(got, "not permitted") {
		t.Errorf("denied device: got %q", got)
	}
	allow := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](11), Access: "rwm"}
	if err := c.Update(t.Context(), &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}, allow}}); err != nil {
		t.Fatal(err)
	}
	if got := try(); strings.Contains(got, "not permitted") {
		t.Errorf("allowed device: got %q", got)
	}
}

// TestDeniedDeviceOfAllowedOnes denies one device of a kind that is allowed, which
// cgroup v1 cannot do: there nothing must look as if it did.
func TestDeniedDeviceOfAllowedOnes(t *testing.T) {
	rules := []specs.LinuxDeviceCgroup{
		{Access: "rwm"}, {Allow: true, Type: "c", Major: ptr[int64](10), Access: "rwm"},
		{Type: "c", Major: ptr[int64](10), Minor: ptr[int64](200), Access: "rwm"},
	}
	try := func(c *Container) string {
		script := "for n in 200 229; do mknod /tmp/$n c 10 $n; echo $n $(head -c 0 /tmp/$n 2>&1); rm /tmp/$n; done"
		res, err := execIn(t, c, newProcess("sh", "-c", script))
		if err != nil {
			t.Fatal(err)
		}
		return res.out
	}
	holds := func(out string) bool {
		denied, allowed, _ := strings.Cut(out, "229 ")
		return strings.Contains(denied, "not permitted") && !strings.Contains(allowed, "not permitted")
	}
	c := background(t, nil)
	err := c.Update(t.Context(), &specs.LinuxResources{Devices: rules, Pids: &specs.LinuxPids{Limit: ptr[int64](77)}})
	if c.Cgroup().V2() {
		if out := try(c); err != nil || !holds(out) {
			t.Errorf("update: %s %v", out, err)
		}
		c = background(t, func(s *specs.Spec) { s.Linux.Resources.Devices = rules })
		if out := try(c); !holds(out) {
			t.Errorf("run: %s", out)
		}
		return
	}
	if !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("update: got %v", err)
	}
	if got := limit(t, c, "pids", "pids.max", "pids.max"); got != "max" {
		t.Errorf("the refused update has set the limit of processes to %s", got)
	}
	spec := newSpec("true")
	spec.Linux.Resources.Devices = rules
	if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("run: got %v", err)
	}
}

// TestParallel runs many containers at once from one process, as the supervisor does.
func TestParallel(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	const count = 60
	begin := time.Now()
	var group sync.WaitGroup
	for range count {
		group.Go(func() {
			c, p, err := r.Run(t.Context(), testenv.Unique("par"), CreateOptions{Bundle: bundle, Spec: newSpec("sleep", "1000")})
			if err != nil {
				t.Error(err)
				return
			}
			if res, err := execIn(t, c, newProcess("sh", "-c", "exit 4")); err != nil || res.code != 4 {
				t.Errorf("exec: %+v, %v", res, err)
			}
			if err := c.Signal(t.Context(), unix.SIGKILL, true); err != nil {
				t.Error(err)
			}
			if code := wait(t, p); code != 137 {
				t.Errorf("exit code %d", code)
			}
			if err := c.Delete(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	t.Logf("%d × run, exec, kill, delete in %v", count, time.Since(begin))
}

func TestSignalAllOfNothing(t *testing.T) {
	r := newRuntime(t)
	c, p, err := r.Run(t.Context(), "gone", CreateOptions{Bundle: newBundle(t), Spec: newSpec("true")})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	if err := c.Signal(t.Context(), unix.SIGKILL, true); err != nil {
		t.Errorf("got %v", err)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := c.Pause(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("pause: got %v", err)
	}
}

// TestMeter: the quick reader of statistics says what the complete one does.
func TestMeter(t *testing.T) {
	c := background(t, func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](77)}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr[int64](64 << 20)}
	})
	m, err := c.Cgroup().NewMeter()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 3 { // it is for more than one sample
		want, err := c.Stats()
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Read()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.PidsStats, want.PidsStats) || got.PidsStats.Limit != 77 {
			t.Errorf("pids %+v, want %+v", got.PidsStats, want.PidsStats)
		}
		if got.MemoryStats.Usage.Limit != 64<<20 || got.MemoryStats.Usage.Limit != want.MemoryStats.Usage.Limit || got.MemoryStats.Usage.Usage == 0 {
			t.Errorf("memory %+v, want %+v", got.MemoryStats.Usage, want.MemoryStats.Usage)
		}
		if keys := slices.Sorted(maps.Keys(got.MemoryStats.Stats)); len(keys) < 10 || !slices.Equal(keys, slices.Sorted(maps.Keys(want.MemoryStats.Stats))) {
			t.Errorf("keys of memory.stat: %q", keys)
		}
		cpu, wantCPU := got.CpuStats.CpuUsage, want.CpuStats.CpuUsage
		if cpu.TotalUsage == 0 || cpu.TotalUsage < wantCPU.TotalUsage || len(cpu.PercpuUsage) != len(wantCPU.PercpuUsage) || got.CpuStats.ThrottlingData != want.CpuStats.ThrottlingData {
			t.Errorf("cpu %+v, want %+v", got.CpuStats, want.CpuStats)
		}
		if len(got.BlkioStats.IoServiceBytesRecursive) != len(want.BlkioStats.IoServiceBytesRecursive) || len(got.BlkioStats.IoServicedRecursive) != len(want.BlkioStats.IoServicedRecursive) {
			t.Errorf("block I/O %+v, want %+v", got.BlkioStats, want.BlkioStats)
		}
	}
}

// TestRootlessCreateLeavesNoGroup refuses a container whose cgroup has been made
// to see whether it may be.
func TestRootlessCreateLeavesNoGroup(t *testing.T) {
	testenv.Need(t, testenv.Root)
	r, err := New(Options{Root: t.TempDir(), Rootless: ptr(true), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	spec := newSpec("true")
	spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}}
	_, _, err = r.Create(t.Context(), testenv.Unique("g"), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob("/sys/fs/cgroup/*" + spec.Linux.CgroupsPath)
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	if _, err := os.Stat("/sys/fs/cgroup" + spec.Linux.CgroupsPath); err == nil {
		t.Error("left over in cgroup v2")
	}
}
