package supervisor

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/gantry-run/gantry/internal/testenv"
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

// prober is what runs a probe in the container "box".
func (f *fixture) prober(t *testing.T, p wire.Probe) wire.Prober {
	t.Helper()
	b := f.Prober("box", p)
	t.Cleanup(b.Close)
	return b
}

func (f *fixture) wantProbed(t *testing.T, b wire.Prober, want wire.Probed) {
	t.Helper()
	if res, err := b.Probe(t.Context()); err != nil || res != want {
		t.Errorf("%+v %v, want %+v", res, err, want)
	}
}

func TestProbe(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	if _, err := f.start(t, "box", "while :; do sleep 60; done", nil); err != nil {
		t.Fatal(err)
	}
	good := f.prober(t, probeOf(t, "echo out; echo err >&2"))
	for range 20 { // the same small process starts all of them
		f.wantProbed(t, good, wire.Probed{Output: "out\nerr\n"})
	}
	f.untilChildren(t, 2) // init and the small process
	good.Close()
	f.untilChildren(t, 1)
	res, err := f.prober(t, probeOf(t, "yes | head -n 100000; exit 1")).Probe(t.Context())
	if err != nil || res.Code != 1 || !res.Truncated || len(res.Output) != 100 {
		t.Errorf("%d bytes, %+v %v", len(res.Output), res, err)
	}
	f.untilChildren(t, 1) // after a failure all is done anew
	f.wantProbed(t, f.prober(t, probeOf(t, "exit 3")), wire.Probed{Code: 3})
	f.wantProbed(t, f.prober(t, probeOf(t, "kill -9 $$")), wire.Probed{Code: 128 + 9})
	f.wantProbed(t, f.prober(t, probeOf(t, "echo a; sleep 0.3; echo b")), wire.Probed{Output: "a\nb\n"})
	begin := time.Now()
	f.wantProbed(t, f.prober(t, probeOf(t, "echo a; sleep 100 & echo b")), wire.Probed{Output: "a\nb\n"})
	late := probeOf(t, "echo a; sleep 100 & sleep 100")
	late.Timeout = 200 * time.Millisecond
	f.wantProbed(t, f.prober(t, late), wire.Probed{Output: "a\n", TimedOut: true})
	late = probeOf(t, "sleep 100")
	late.Timeout = time.Millisecond // it may be over before the program runs
	f.wantProbed(t, f.prober(t, late), wire.Probed{TimedOut: true})
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("%s", took)
	}
	good.Close()
	f.wantProbed(t, good, wire.Probed{Output: "out\nerr\n"})
	if err := f.Signal(t.Context(), "box", int(unix.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	wait("box", "")
	f.untilChildren(t, 0) // the small process ends with the run
	for range 2 {
		if _, err := good.Probe(t.Context()); !errs.Is(err, errs.Conflict) {
			t.Errorf("probe of an ended container: %v", err)
		}
	}
}

// TestProbeEndsWithoutDaemon: a probe that takes too long is killed with all that
// it has started though nobody is there any more to hear of it.
func TestProbeEndsWithoutDaemon(t *testing.T) {
	f := newFixture(t)
	if _, err := f.start(t, "box", "while :; do sleep 60; done", nil); err != nil {
		t.Fatal(err)
	}
	late := probeOf(t, "echo started > /started; sleep 100 & sleep 100")
	late.Timeout = 500 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := filepath.Join(f.root, "started")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(begun); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := f.prober(t, late).Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("probe that nobody waits for: %v", err)
	}
	f.untilChildren(t, 1)
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		pids, err := f.Pids(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) <= 2 { // init and its sleep
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("left over: %v", pids)
		}
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
	for script, want := range map[string]string{
		"cd /proc; set -- [0-9]*; [ $1 = 1 ] && [ $# -le 3 ]; echo $?": "0\n", // init, sleep, itself: not the small process
		"cd /proc/self/fd; set -- *; echo $#":                          "4\n", // 0, 1, 2 and the directory
		"echo x > /dev/stdout; cat /proc/1/comm":                       "x\nsh\n",
		"pwd; echo $HOME; read -r x; echo $?":                          "/\n/\n1\n", // an empty input
		"grep SigBlk /proc/self/status":                                "SigBlk:\t0000000000000000\n",
		"cat /proc/self/cgroup":                                        string(cgroup),
	} {
		p := probeOf(t, script)
		p.MaxOutput = 10000
		b := f.prober(t, p)
		for range 2 {
			f.wantProbed(t, b, wire.Probed{Output: want})
		}
	}
}

// TestProbeOfTimeNamespace: a process that cannot be repeated runs as an exec does.
func TestProbeOfTimeNamespace(t *testing.T) {
	testenv.Need(t, testenv.File("/proc/self/ns/time"))
	f := newFixture(t)
	_, err := f.start(t, "box", "while :; do sleep 60; done", func(_ *wire.Start, sp *specs.Spec) {
		sp.Linux.Namespaces = append(sp.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		sp.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100 << 20}}
	})
	if err != nil {
		t.Fatal(err)
	}
	b := f.prober(t, probeOf(t, "read -r up rest < /proc/uptime; [ ${up%.*} -gt 100000000 ]; echo $?; exit 3"))
	for range 2 {
		f.wantProbed(t, b, wire.Probed{Code: 3, Output: "0\n"})
		f.untilChildren(t, 1)
	}
	late := probeOf(t, "echo a; sleep 100 & sleep 100")
	late.Timeout = 200 * time.Millisecond
	f.wantProbed(t, f.prober(t, late), wire.Probed{Code: 128 + 9, Output: "a\n", TimedOut: true})
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
	b := f.prober(t, wire.Probe{Process: process, Timeout: 10 * time.Second, MaxOutput: 100})
	missing := func() {
		t.Helper()
		if _, err := b.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "late") {
			t.Errorf("a missing program gives %v", err)
		}
	}
	there := func() {
		t.Helper()
		if res, err := b.Probe(t.Context()); err != nil || res.Output != "here\n" {
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
