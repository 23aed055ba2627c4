package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// testGroup is a group with processes.
type testGroup struct {
	Group
	processes []*exec.Cmd
}

// newGroup makes a group. What is in it is killed at the end of the test.
func newGroup(t *testing.T) *testGroup {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	found, err := Locate(fmt.Sprintf("/gantry-cgroup-test-%d", os.Getpid()), "")
	if err != nil {
		t.Fatal(err)
	}
	g := &testGroup{Group: found}
	if err := g.Create(&Resources{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		err := g.SignalAll(ctx, unix.SIGKILL)
		for _, p := range g.processes {
			_ = p.Wait() // killed
		}
		if err := errors.Join(err, g.Remove(ctx)); err != nil {
			t.Error(err)
		}
	})
	return g
}

// run starts a process and moves it into the group.
func (g *testGroup) run(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	p := exec.Command("/bin/busybox", args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	g.processes = append(g.processes, p)
	for _, dir := range g.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(p.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// runHanging starts a process that cannot be frozen: it waits for a file that never
// comes.
func (g *testGroup) runHanging(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	hangs := testenv.HangingDir(t, dir)
	g.run(t, "cat", dir+"/file")
	<-hangs
}

// TestFreezeGivenUp: a group that cannot be frozen is not frozen later on either.
func TestFreezeGivenUp(t *testing.T) {
	g := newGroup(t)
	g.runHanging(t)
	free := g.run(t, "sleep", "1000")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := g.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up by the caller: got %v", err)
	}
	notFrozen := func(when string) {
		t.Helper()
		frozen, err := g.Frozen()
		half, herr := g.Freezing()
		if frozen || half || errors.Join(err, herr) != nil {
			t.Errorf("%s: frozen %v, about to be %v, %v", when, frozen, half, errors.Join(err, herr))
		}
	}
	notFrozen("given up by the caller")
	err := g.Freeze(t.Context())
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "uninterruptible sleep") {
		t.Errorf("not in time: got %v", err)
	}
	notFrozen("not in time")
	if len(g.V1) > 0 { // as on a machine without the unified hierarchy
		alone := Group{V1: g.V1}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := alone.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("v1: got %v", err)
		}
		if half, err := alone.Freezing(); half || err != nil {
			t.Errorf("v1: about to be frozen %v, %v", half, err)
		}
	}
	// Signals reach the group nevertheless.
	if err := g.SignalAll(t.Context(), unix.SIGTERM); err != nil {
		t.Errorf("signal: %v", err)
	}
	if err := free.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("the other process: %v", err)
	}
	notFrozen("after a signal")
}

// TestHalfFrozen: what a program leaves that is killed while it freezes.
func TestHalfFrozen(t *testing.T) {
	g := newGroup(t)
	g.runHanging(t)
	file, value := filepath.Join(g.V1["freezer"], "freezer.state"), "FROZEN"
	if g.Unified != "" {
		file, value = filepath.Join(g.Unified, "cgroup.freeze"), "1"
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	if half, err := g.Freezing(); err != nil || !half {
		t.Errorf("got %v, %v", half, err)
	}
	if err := g.Thaw(t.Context()); err != nil {
		t.Error(err)
	}
	if half, err := g.Freezing(); err != nil || half {
		t.Errorf("thawed: got %v, %v", half, err)
	}
}
