package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Gate lists things of one kind that exist now. A test binary must not leave
// more of them than it found.
type Gate struct {
	Name string
	// List names the things; a name that occurs n times counts n times.
	List func() ([]string, error)
}

// LeakGrace is how long things may take to disappear after the last test:
// kernel objects and goroutines end asynchronously.
const LeakGrace = 30 * time.Second

type gateState struct {
	gate   Gate
	before []string
}

type gateStates []gateState

func snapshot(gates []Gate) (gateStates, error) {
	var all gateStates
	for _, g := range gates {
		before, err := g.List()
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", g.Name, err)
		}
		all = append(all, gateState{g, before})
	}
	return all, nil
}

// check reports what is there now and was not before, once LeakGrace is over.
func (all gateStates) check() error {
	var errs error
	deadline := time.Now().Add(LeakGrace)
	for _, s := range all {
		errs = errors.Join(errs, s.check(deadline))
	}
	return errs
}

func (s gateState) check(deadline time.Time) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		after, err := s.gate.List()
		if err != nil {
			return fmt.Errorf("list %s: %w", s.gate.Name, err)
		}
		leaked := subtract(after, s.before)
		if len(leaked) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d leaked %s:\n  %s", len(leaked), s.gate.Name, strings.Join(leaked, "\n  "))
		}
		time.Sleep(wait)
	}
}

// subtract gives the elements of a without those of b, as multisets.
func subtract(a, b []string) []string {
	count := map[string]int{}
	for _, s := range b {
		count[s]++
	}
	var rest []string
	for _, s := range a {
		if count[s] > 0 {
			count[s]--
			continue
		}
		rest = append(rest, s)
	}
	slices.Sort(rest)
	return rest
}

// CheckLeaks verifies the gates over one test: call it before anything that the
// test registers with Cleanup.
func CheckLeaks(t TB, gates ...Gate) {
	t.Helper()
	before, err := snapshot(gates)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		if err := before.check(); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
}

// FDs are the process's open file descriptors, by what they refer to. The
// runtime's own poller is left out.
var FDs = Gate{"file descriptors", func() ([]string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist): // the directory that was just read
		case err != nil:
			return nil, err
		case target == "anon_inode:[eventpoll]", target == "anon_inode:[eventfd]": // Go's poller
		case strings.HasPrefix(target, "/proc/"): // ReadDir's own
		default:
			all = append(all, target)
		}
	}
	return all, nil
}}

// Goroutines are the running goroutines by the function that created them.
var Goroutines = Gate{"goroutines", func() ([]string, error) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var all []string
	for _, stack := range bytes.Split(buf, []byte("\n\n")) {
		lines := strings.Split(string(stack), "\n")
		creator := lines[len(lines)-1]
		for _, l := range lines {
			if strings.HasPrefix(l, "created by ") {
				creator = l
			}
		}
		if i := strings.Index(creator, " in goroutine"); i > 0 {
			creator = creator[:i]
		}
		if strings.Contains(creator, "testing.") || strings.Contains(creator, "os/signal.") ||
			strings.Contains(string(stack), "testenv.snapshot") || strings.Contains(string(stack), "testenv.gateState") {
			continue
		}
		all = append(all, creator)
	}
	return all, nil
}}

// Mounts are the mount points of the process's mount namespace.
var Mounts = Gate{"mounts", func() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 9 {
			pre, post, _ := strings.Cut(line, " - ")
			all = append(all, strings.Fields(pre)[4]+" "+strings.Fields(post)[0])
		}
	}
	return all, nil
}}

// Links are the network interfaces of the process's network namespace.
var Links = Gate{"network links", func() ([]string, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, i := range ifs {
		all = append(all, i.Name)
	}
	return all, nil
}}
