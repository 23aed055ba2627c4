package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// probeOf describes a probe of a shell script.
func probeOf(t *testing.T, script string) wire.Probe {
	t.Helper()
	process, err := json.Marshal(specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin", "HOME=/"}})
	if err != nil {
		t.Fatal(err)
	}
	return wire.Probe{Process: process, Timeout: 10 * time.Second, MaxOutput: 100}
}

func (f *fixture) children(t *testing.T) int {
	t.Helper()
	f.srv.reaper.mu.Lock()
	defer f.srv.reaper.mu.Unlock()
	return len(f.srv.reaper.procs)
}

// untilChildren waits until the supervisor has that many.
func (f *fixture) untilChildren(t *testing.T, want int) {
	t.Helper()
	for begin := time.Now(); f.children(t) != want; time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d children, want %d", f.children(t), want)
		}
	}
}

func TestProbe(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "box", "while :; do sleep 60; done", nil); err != nil {
		t.Fatal(err)
	}
	probe := func(p wire.Probe) wire.Probed {
		t.Helper()
		res, err := f.Probe(t.Context(), "box", p)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for range 20 { // the same small process starts all of them
		if res := probe(probeOf(t, "echo out; echo err >&2")); res != (wire.Probed{Output: "out\nerr\n"}) {
			t.Fatalf("%+v", res)
		}
	}
	f.untilChildren(t, 2) // init and the small process
	if res := probe(probeOf(t, "yes | head -n 100000; exit 1")); res.Code != 1 || !res.Truncated || len(res.Output) != 100 {
		t.Errorf("%d bytes, %+v", len(res.Output), res)
	}
	if res := probe(probeOf(t, "exit 3")); res.Code != 3 {
		t.Errorf("%+v", res)
	}
	f.untilChildren(t, 1) // after a failure all is done anew
	late := probeOf(t, "echo a; sleep 100 & sleep 100")
	late.Timeout = 200 * time.Millisecond
	begin := time.Now()
	if res := probe(late); !res.TimedOut || res.Output != "a\n" || time.Since(begin) > 5*time.Second {
		t.Errorf("%+v after %s", res, time.Since(begin))
	}
	if err := f.Signal(t.Context(), "box", int(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	wait("box", "")
	f.untilChildren(t, 0)
	if _, err := f.Probe(t.Context(), "box", late); !errs.Is(err, errs.Conflict) {
		t.Errorf("probe of an ended container: %v", err)
	}
}

// TestProbeIsInside: what a repeated process sees is what an exec would.
func TestProbeIsInside(t *testing.T) {
	f := newFixture(t)
	pid, err := f.start(t, "box", "while :; do sleep 60; done", nil)
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for script, want := range map[string]string{
			"cd /proc; set -- [0-9]*; [ $1 = 1 ] && [ $# -le 3 ]; echo $?": "0\n", // init, sleep, itself: not the small process
			"cd /proc/self/fd; set -- *; echo $#":                          "4\n", // 0, 1, 2 and the directory
			"echo x > /dev/stdout; cat /proc/1/comm":                       "x\nsh\n",
			"pwd; echo $HOME; read -r x; echo $?":                          "/\n/\n1\n", // an empty input
		} {
			p := probeOf(t, script)
			p.MaxOutput = 1000
			if res, err := f.Probe(t.Context(), "box", p); err != nil || res.Output != want {
				t.Errorf("%s: %+v %v, want %q", script, res, err, want)
			}
		}
		p := probeOf(t, "cat /proc/self/cgroup")
		p.MaxOutput = 10000
		if res, err := f.Probe(t.Context(), "box", p); err != nil || res.Output != string(cgroup) {
			t.Errorf("cgroups %s %v, want %s", res.Output, err, cgroup)
		}
	}
}

// TestProbeSeesChanges: what is missing is an error, and no error once it is there.
func TestProbeSeesChanges(t *testing.T) {
	f := newFixture(t)
	if _, err := f.start(t, "box", "while :; do sleep 60; done", nil); err != nil {
		t.Fatal(err)
	}
	process, err := json.Marshal(specs.Process{Args: []string{"late", "-c", "echo here"}, Cwd: "/", Env: []string{"PATH=/bin", "HOME=/"}})
	if err != nil {
		t.Fatal(err)
	}
	p := wire.Probe{Process: process, Timeout: 10 * time.Second, MaxOutput: 100}
	missing := func() {
		t.Helper()
		if _, err := f.Probe(t.Context(), "box", p); err == nil || !strings.Contains(err.Error(), "late") {
			t.Errorf("a missing program gives %v", err)
		}
	}
	there := func() {
		t.Helper()
		if res, err := f.Probe(t.Context(), "box", p); err != nil || res.Output != "here\n" {
			t.Errorf("%+v %v", res, err)
		}
	}
	name := filepath.Join(f.root, "bin/late")
	missing()
	for range 2 {
		if err := os.WriteFile(name, []byte("#!/bin/sh\necho here\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		there()
		there()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		missing() // the small process found it, now it is gone
		missing()
	}
}
