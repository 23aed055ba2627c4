package oci

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/criu"
	"github.com/gantry-run/gantry/internal/testenv"
)

func needCRIU(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"), testenv.CRIU)
}

// counter is a container that counts, and what it has said.
type counter struct {
	c     *Container
	p     *Process
	lines *bufio.Scanner
	out   *os.File
}

const counting = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"

// next reads the next number.
func (n *counter) next(t *testing.T) int {
	t.Helper()
	if err := n.out.SetReadDeadline(time.Now().Add(time.Minute)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		t.Fatal(err)
	}
	if !n.lines.Scan() {
		t.Fatalf("no more numbers: %v", n.lines.Err())
	}
	i, err := strconv.Atoi(strings.TrimSpace(n.lines.Text()))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// rest reads what is left and gives the last number.
func (n *counter) rest(t *testing.T, last int) int {
	t.Helper()
	for n.lines.Scan() {
		if i, err := strconv.Atoi(strings.TrimSpace(n.lines.Text())); err == nil {
			last = i
		}
	}
	_ = n.out.Close() // read to its end
	return last
}

// start creates or restores a counting container with a pipe or a terminal.
func startCounter(t *testing.T, terminal bool, start func(IO) (*Container, *Process, error)) *counter {
	t.Helper()
	n := &counter{}
	var streams IO
	var theirs *os.File
	if !terminal {
		var err error
		if n.out, theirs, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		streams = IO{Stdout: theirs, Stderr: theirs}
	}
	var err error
	n.c, n.p, err = start(streams)
	if theirs != nil {
		_ = theirs.Close() // the container has it
	}
	if err != nil {
		if n.out != nil {
			_ = n.out.Close()
		}
		t.Fatal(err)
	}
	if terminal {
		n.out = n.p.Console
	}
	n.lines = bufio.NewScanner(n.out)
	return n
}

// end kills a counter's container.
func (n *counter) end(t *testing.T) {
	t.Helper()
	if err := n.c.Signal(t.Context(), unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	n.rest(t, 0)
	n.p.Console = nil // it is n.out
	wait(t, n.p)
	if err := n.c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
}

// dumpable is a bundle and its configuration, with all that needs care.
func dumpable(t *testing.T, edit func(*specs.Spec)) (string, *specs.Spec) {
	t.Helper()
	bundle, shared := newBundle(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("from outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := newSpec("sh", "-c", counting)
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/shared", Type: "bind", Source: shared, Options: []string{"rbind"}},
		specs.Mount{Destination: "/etc/one", Type: "bind", Source: filepath.Join(shared, "file"), Options: []string{"bind", "ro"}})
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](20)}
	if edit != nil {
		edit(spec)
	}
	data, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bundle, spec
}

func TestCheckpointAndRestore(t *testing.T) { checkpointAndRestore(t, false) }

func TestCheckpointUserNamespace(t *testing.T) { checkpointAndRestore(t, true) }

func checkpointAndRestore(t *testing.T, users bool) {
	needCRIU(t)
	r := newRuntime(t)
	bundle, spec := dumpable(t, nil)
	if users {
		mapped(t, bundle)(spec)
		if err := os.Chmod(filepath.Dir(bundle), 0o755); err != nil { // criu looks for sources with its root's rights
			t.Fatal(err)
		}
	}
	images := filepath.Join(t.TempDir(), "images")
	n := startCounter(t, false, func(s IO) (*Container, *Process, error) {
		return r.Run(t.Context(), "count", CreateOptions{Bundle: bundle, Spec: spec, IO: s})
	})
	for n.next(t) < 3 {
	}
	if err := n.c.Checkpoint(t.Context(), CheckpointOptions{Images: images}); err != nil {
		n.end(t)
		t.Fatal(err)
	}
	last := n.rest(t, 0)
	if code := wait(t, n.p); code != 137 {
		t.Errorf("exit code %d", code)
	}
	if err := n.c.Delete(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	requireNoTrace(t, r, "count")

	for _, id := range []string{"count", "another"} {
		if id == "another" {
			spec.Linux.CgroupsPath += "-another"
		}
		n = startCounter(t, false, func(s IO) (*Container, *Process, error) {
			return r.Restore(t.Context(), id, CreateOptions{Bundle: bundle, Spec: spec, IO: s}, CheckpointOptions{Images: images})
		})
		if i := n.next(t); i != last+1 {
			t.Errorf("%s: it goes on with %d after %d", id, i, last)
		}
		if status, err := n.c.Status(); err != nil || status != specs.StateRunning {
			t.Errorf("%s: it is %s, %v", id, status, err)
		}
		res, err := execIn(t, n.c, newProcess("sh", "-c", "hostname; cat /shared/file /etc/one; echo; cat /proc/self/cgroup | grep ^0:; cat /proc/1/comm"))
		if want := "testhost\nfrom outsidefrom outside\n0::/\nsh\n"; err != nil || res.out != want {
			t.Errorf("%s: got %+v, %v", id, res, err)
		}
		if got := limit(t, n.c, "pids", "pids.max", "pids.max"); got != "20" {
			t.Errorf("%s: limit of processes %s", id, got)
		}
		if users {
			if err := checkMapping(n.p.Pid, spec.Linux); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
		requireInGroups(t, n)
		pids, err := n.c.Pids()
		if err != nil || len(pids) == 0 || !strings.Contains(fmt.Sprint(pids), fmt.Sprint(n.p.Pid)) {
			t.Errorf("%s: processes %v of its group, %v: %d is not there", id, pids, err, n.p.Pid)
		}
		n.end(t)
		requireNoTrace(t, r, id)
	}
}

// requireInGroups requires that a container's init is in its cgroup of each hierarchy.
func requireInGroups(t *testing.T, n *counter) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", n.p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	g := n.c.Cgroup()
	for controller, dir := range g.V1 {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || !slices.Contains(strings.Fields(string(procs)), strconv.Itoa(n.p.Pid)) {
			t.Errorf("%s: init is not in %s but in %s, %v", controller, dir, text, err)
		}
	}
	if g.Unified == "" {
		return
	}
	procs, err := os.ReadFile(filepath.Join(g.Unified, "cgroup.procs"))
	if err != nil || !slices.Contains(strings.Fields(string(procs)), strconv.Itoa(n.p.Pid)) {
		t.Errorf("init is not in %s but in %s, %v", g.Unified, text, err)
	}
}

// TestCheckpointLeaveRunning dumps a container several times while it runs.
func TestCheckpointLeaveRunning(t *testing.T) {
	needCRIU(t)
	r := newRuntime(t)
	bundle, spec := dumpable(t, nil)
	dir := t.TempDir()
	n := startCounter(t, false, func(s IO) (*Container, *Process, error) {
		return r.Run(t.Context(), "count", CreateOptions{Bundle: bundle, Spec: spec, IO: s})
	})
	defer n.end(t)
	before := n.next(t)
	if err := n.c.Checkpoint(t.Context(), CheckpointOptions{Images: filepath.Join(dir, "pre"), PreDump: true}); err != nil {
		t.Fatal(err)
	}
	o := CheckpointOptions{Images: filepath.Join(dir, "full"), Work: filepath.Join(dir, "work"), CRIU: criu.Options{LeaveRunning: true, ParentImages: "../pre"}}
	if err := n.c.Checkpoint(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if i := n.next(t); i <= before {
		t.Errorf("%d after %d", i, before)
	}
	for _, name := range []string{"work/dump.log", "full/inventory.img", "full/parent", "full/descriptors.json"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckpointTerminal(t *testing.T) {
	needCRIU(t)
	r := newRuntime(t)
	bundle, spec := dumpable(t, func(s *specs.Spec) { s.Process.Terminal = true })
	images := t.TempDir()
	n := startCounter(t, true, func(s IO) (*Container, *Process, error) {
		return r.Run(t.Context(), "tty", CreateOptions{Bundle: bundle, Spec: spec, IO: s})
	})
	for n.next(t) < 3 {
	}
	if err := n.c.Checkpoint(t.Context(), CheckpointOptions{Images: images}); err != nil {
		n.end(t)
		t.Fatal(err)
	}
	last := n.rest(t, 0)
	n.p.Console = nil // it is n.out
	wait(t, n.p)
	if err := n.c.Delete(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	n = startCounter(t, true, func(s IO) (*Container, *Process, error) {
		return r.Restore(t.Context(), "tty", CreateOptions{Bundle: bundle, Spec: spec, IO: s}, CheckpointOptions{Images: images})
	})
	if i := n.next(t); i != last+1 {
		t.Errorf("it goes on with %d after %d", i, last)
	}
	n.end(t)
}

// TestCheckpointFails leaves everything as it was.
func TestCheckpointFails(t *testing.T) {
	r := newRuntime(t)
	bundle, spec := dumpable(t, nil)
	n := startCounter(t, false, func(s IO) (*Container, *Process, error) {
		return r.Run(t.Context(), "count", CreateOptions{Bundle: bundle, Spec: spec, IO: s})
	})
	defer n.end(t)
	images := filepath.Join(t.TempDir(), "images")
	other := *spec
	linux := *spec.Linux
	linux.CgroupsPath += "-copy"
	other.Linux = &linux
	for _, tc := range []struct {
		o    CheckpointOptions
		kind errs.Kind
		want string
	}{
		{CheckpointOptions{}, errs.InvalidArgument, "the directory of the checkpoint is not given"},
		{CheckpointOptions{Images: images, CgroupMode: "x"}, errs.InvalidArgument, `invalid manage-cgroups-mode: "x"`},
		{CheckpointOptions{Images: images, Criu: "/no/such/criu"}, errs.Unsupported, "find criu"},
		{CheckpointOptions{Images: images, Criu: "/bin/true"}, errs.Internal, "criu died"},
	} {
		if err := n.c.Checkpoint(t.Context(), tc.o); !errs.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", tc.want, err)
		}
		if status, err := n.c.Status(); err != nil || status != specs.StateRunning {
			t.Errorf("after %q it is %s, %v", tc.want, status, err)
		}
		if tc.o.Images == "" {
			continue
		}
		_, _, err := r.Restore(t.Context(), "copy", CreateOptions{Bundle: bundle, Spec: &other}, tc.o)
		if err == nil {
			t.Errorf("restore: %q was accepted", tc.want)
		}
		requireNoTrace(t, r, "copy")
	}
	if _, _, err := r.Restore(t.Context(), "count", CreateOptions{Bundle: bundle, Spec: spec}, CheckpointOptions{Images: images}); !errs.Is(err, errs.Conflict) {
		t.Errorf("an id in use: %v", err)
	}
	if i, j := n.next(t), n.next(t); j != i+1 {
		t.Errorf("%d after %d", j, i)
	}
}

// TestCheckpointOfOthers has directories in which somebody else has been.
func TestCheckpointOfOthers(t *testing.T) {
	testenv.Need(t, testenv.Root)
	r := newRuntime(t)
	bundle, spec := dumpable(t, nil)
	n := startCounter(t, false, func(s IO) (*Container, *Process, error) {
		return r.Run(t.Context(), "count", CreateOptions{Bundle: bundle, Spec: spec, IO: s})
	})
	defer n.end(t)
	images, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("(00.1) Error (x): secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plant := func(name string) {
		if err := os.Symlink(victim, filepath.Join(images, name)); err != nil {
			t.Fatal(err)
		}
	}
	plant("dump.log")
	o := CheckpointOptions{Images: images, Criu: "/bin/true"}
	if err := n.c.Checkpoint(t.Context(), o); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a link for a log: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(images, "dump.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is still there for criu to write through: %v", err)
	}
	if err := os.Remove(filepath.Join(images, "descriptors.json")); err != nil {
		t.Fatal(err)
	}
	plant("descriptors.json")
	if err := n.c.Checkpoint(t.Context(), o); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link for a file: %v", err)
	}
	linux := *spec.Linux
	linux.CgroupsPath += "-copy"
	copied := *spec
	copied.Linux = &linux
	restore := func(o CheckpointOptions) error {
		_, _, err := r.Restore(t.Context(), "copy", CreateOptions{Bundle: bundle, Spec: &copied}, o)
		requireNoTrace(t, r, "copy")
		return err
	}
	if err := restore(o); !errors.Is(err, unix.ELOOP) {
		t.Errorf("restore: a link for a file: %v", err)
	}
	if data, err := os.ReadFile(victim); err != nil || !strings.Contains(string(data), "secret") {
		t.Errorf("the victim holds %q, %v", data, err)
	}
	// Not at all where it must be ours.
	o.Ours = true
	link := images + "-link"
	if err := os.Symlink(images, link); err != nil {
		t.Fatal(err)
	}
	if err := restore(CheckpointOptions{Images: link, Ours: true}); !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a link for a directory: %v", err)
	}
	for what, change := range map[string]func() error{
		"writable":   func() error { return os.Chmod(images, 0o770) },
		"somebody's": func() error { return errors.Join(os.Chmod(images, 0o700), os.Chown(images, 1000, 0)) },
	} {
		if err := errors.Join(os.Chown(images, 0, 0), change()); err != nil {
			t.Fatal(err)
		}
		if err := restore(o); !errs.Is(err, errs.Permission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if i, j := n.next(t), n.next(t); j != i+1 {
		t.Errorf("%d after %d", j, i)
	}
}
