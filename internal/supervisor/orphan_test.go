package supervisor

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// TestOrphansAreReapedTogether: all that have ended a grace ago go at once, others
// and those that somebody waits for stay.
func TestOrphansAreReapedTogether(t *testing.T) {
	ended := func() int {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		within(t, "a process's end", func() {
			for !hasEnded(unix.P_PID, p.Pid) {
				time.Sleep(time.Millisecond)
			}
		})
		return p.Pid
	}
	r := &reaper{procs: map[int32]*child{}}
	claimed := ended()
	r.procs[1] = &child{pid: claimed}
	var orphans []int
	for range 20 {
		orphans = append(orphans, ended())
	}
	before := r.reapOrphans(nil)
	orphan := ended()
	since := r.reapOrphans(before)
	if before[claimed] || since[claimed] {
		t.Error("a process that is waited for counts as an orphan")
	}
	if since[orphans[0]] || !since[orphan] {
		t.Errorf("ended since: %v, not %d alone", since, orphan)
	}
	for _, pid := range orphans {
		if !before[pid] || hasEnded(unix.P_PID, pid) {
			t.Errorf("%d ended in time: %v, and was reaped: %v", pid, before[pid], !hasEnded(unix.P_PID, pid))
		}
	}
	for _, pid := range []int{claimed, orphan} {
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

// TestOrphansOfAContainerWithTheHostsProcesses leave no zombies behind.
func TestOrphansOfAContainerWithTheHostsProcesses(t *testing.T) {
	f := newFixture(t)
	const script = "i=0; while [ $i -lt 200 ]; do (sleep 0.3 &); i=$((i+1)); done; echo all; exec sleep 1000"
	_, err := f.start(t, "host", script, func(_ *wire.Start, s *specs.Spec) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the end of all orphans", func() {
		for {
			pids, err := f.Pids(t.Context(), "host")
			if err != nil {
				t.Error(err)
				return
			}
			if len(pids) == 1 && strings.Contains(f.logText(t, "host"), "all") && !hasEnded(unix.P_ALL, 0) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}
