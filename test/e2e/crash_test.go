package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKilledAmidEverything kills the daemon while many clients create, start,
// stop, remove, execute, commit and copy on the same few names, again and again.
// After each restart what the daemon says is what the kernel has, every name can
// be used, and in the end nothing is left.
func TestKilledAmidEverything(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 12 {
		storm(e, rand.New(rand.NewPCG(seed, uint64(round))), func() { e.crash(t) })
		if err := e.start(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		agree(t, e, fmt.Sprintf("round %d", round))
	}
	c := one(t, e)
	for _, name := range stormNames {
		c.do("rm", "-f", name)
		equal(t, "the name can be used", c.ok("run", "--rm", "--name", name, "busybox", "echo", "again"), "again")
	}
	if err := e.removeAll(t.Context()); err != nil {
		t.Error(err)
	}
	for _, line := range strings.Fields(c.ok("images", "-q", "--filter", "label=storm")) {
		c.do("rmi", "-f", line) // two names may share one
	}
	// Anonymous volumes whose container went amid its removal stay until a prune, as
	// with Docker: nobody can know whether they are still wanted.
	c.ok("volume", "prune", "-f")
	nothingLeft(t, e)
}

var stormNames = []string{"storm-a", "storm-b", "storm-c", "storm-d", "storm-e", "storm-f"}

// storm runs verbs on all names at once until crash has been called.
func storm(e *engine, r *rand.Rand, crash func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 20 {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		wg.Go(func() {
			for ctx.Err() == nil {
				verb(ctx, e, r, stormNames[r.IntN(len(stormNames))])
			}
		})
	}
	time.Sleep(time.Duration(20+r.IntN(600)) * time.Millisecond)
	crash()
	cancel()
	wg.Wait()
}

// verb does one thing; that it fails is to be expected.
func verb(ctx context.Context, e *engine, r *rand.Rand, name string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	post := func(path, body string) {
		_, _ = e.call(ctx, "POST", path, "application/json", strings.NewReader(body))
	}
	switch r.IntN(8) {
	case 0, 1:
		post("/containers/create?name="+name, `{"Image":"busybox","Cmd":["sleep","600"],"Labels":{"storm":"1"},"Volumes":{"/vol":{}},
			"ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"0","HostIp":"127.0.0.1"}]}}}`)
	case 2:
		post("/containers/"+name+"/start", "")
	case 3:
		post("/containers/"+name+"/stop?t=0", "")
	case 4:
		_, _ = e.call(ctx, "DELETE", "/containers/"+name+"?force=1&v=1", "", nil)
	case 5:
		data, err := e.call(ctx, "POST", "/containers/"+name+"/exec", "application/json", strings.NewReader(`{"Cmd":["sh","-c","echo x > /x; sleep 0.05"]}`))
		var made struct{ ID string }
		if err == nil && json.Unmarshal(data, &made) == nil {
			post("/exec/"+made.ID+"/start", `{"Detach":true}`)
		}
	case 6:
		post("/commit?container="+name+"&repo=storm&tag="+name, "")
	case 7:
		_, _ = e.call(ctx, "GET", "/containers/"+name+"/archive?path=/bin", "", nil)
	}
}

// agree compares the daemon's view with the kernel's.
func agree(t *testing.T, e *engine, when string) {
	t.Helper()
	if err := e.disagrees(); err != nil {
		t.Errorf("%s: %v\n%s", when, err, e.logTail())
	}
}

// agreeSoon gives the daemon time to learn what the kernel has.
func agreeSoon(t *testing.T, e *engine, when string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); e.disagrees() != nil && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	agree(t, e, when)
}

// disagrees tells where the daemon's view is not the kernel's.
func (e *engine) disagrees() (errs error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	data, err := e.get(ctx, "/containers/json?all=1")
	if err != nil {
		return err
	}
	var list []struct {
		ID, State string
		Names     []string
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range list {
		if len(c.Names) != 1 || seen[c.Names[0]] {
			errs = errors.Join(errs, fmt.Errorf("names %q", c.Names))
		}
		seen[c.Names[0]] = true
		data, err := e.get(ctx, "/containers/"+c.ID+"/json")
		var full struct {
			State struct {
				Status string
				Pid    int
			}
		}
		if err = errors.Join(err, json.Unmarshal(data, &full)); err != nil {
			errs = errors.Join(errs, fmt.Errorf("inspect %s: %w", c.Names, err))
			continue
		}
		switch s := full.State; s.Status {
		case "running", "paused": // by a commit that the crash has interrupted
			groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.Pid))
			if err != nil || !strings.Contains(string(groups), c.ID) {
				errs = errors.Join(errs, fmt.Errorf("%s runs as process %d, which is not its own: %w %s", c.Names, s.Pid, err, groups))
			}
		case "created", "exited":
			if left := processesOf(c.ID); left != "" {
				errs = errors.Join(errs, fmt.Errorf("%s is %s, but process %s is in its cgroup", c.Names, s.Status, left))
			}
		default:
			errs = errors.Join(errs, fmt.Errorf("%s is %s", c.Names, s.Status))
		}
	}
	return errs
}

// processesOf gives a process in a container's cgroup.
func processesOf(id string) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, d := range dirs {
		if data, err := os.ReadFile(d); err == nil && strings.Contains(string(data), id) {
			return filepath.Base(filepath.Dir(d))
		}
	}
	return ""
}

// nothingLeft checks that a daemon without containers has nothing of them.
func nothingLeft(t *testing.T, e *engine) {
	t.Helper()
	for _, pattern := range []string{"data/containers/*", "data/image/rootfs/[^.]*", "exec/runtime/*", "exec/exits/*", "exec/containers/*", "data/volumes/*/_data"} {
		deadline := time.Now().Add(20 * time.Second)
		for {
			left, err := filepath.Glob(filepath.Join(e.dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind: %q", left)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	data, err := e.get(ctx, "/networks/bridge")
	var n struct{ Containers map[string]json.RawMessage }
	if err = errors.Join(err, json.Unmarshal(data, &n)); err != nil || len(n.Containers) != 0 {
		t.Errorf("the bridge has %d endpoints, %v", len(n.Containers), err)
	}
}
