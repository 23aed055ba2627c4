package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// place is a mount namespace that a container is to share.
type place struct {
	pid  int
	edit func(*specs.Spec)
}

func namespaceOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/mnt", pid) }

// newPlace makes a mount namespace, or takes that of the tests.
func newPlace(t *testing.T, own bool, flags uintptr) place {
	t.Helper()
	testenv.Need(t, testenv.Root)
	if !own {
		return place{os.Getpid(), func(s *specs.Spec) { s.Linux.Namespaces = without(s, specs.MountNamespace) }}
	}
	holder := exec.Command("/bin/busybox", "sh", "-c", "echo; exec sleep 1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags | unix.CLONE_NEWNS}
	if flags&unix.CLONE_NEWUSER != 0 {
		holder.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: 200000, Size: 65536}}
		holder.SysProcAttr.GidMappings = holder.SysProcAttr.UidMappings
		holder.SysProcAttr.Credential = &syscall.Credential{}
	}
	out, err := holder.StdoutPipe()
	if err == nil {
		err = holder.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill() // it has not been waited for
		_ = holder.Wait()         // killed
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return place{holder.Process.Pid, func(s *specs.Spec) {
		s.Linux.Namespaces = append(without(s, specs.MountNamespace),
			specs.LinuxNamespace{Type: specs.MountNamespace, Path: namespaceOf(holder.Process.Pid)})
	}}
}

// mounts lists what is mounted in the namespace, as lines of mountinfo: all that
// have a text in them.
func (p place) mounts(t *testing.T, text string) (lines []string) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// unchanged fails if there are other mounts, or other settings of them, than
// before when the test is over.
func (p place) unchanged(t *testing.T) {
	t.Helper()
	before := strings.Join(p.mounts(t, ""), "")
	t.Cleanup(func() {
		if after := strings.Join(p.mounts(t, ""), ""); after != before {
			t.Errorf("the mounts have become\n%sinstead of\n%s", after, before)
		}
	})
}

// inPlaces runs a test in both sorts of mount namespaces that are no container's own.
func inPlaces(t *testing.T, f func(t *testing.T, p place)) {
	for name, own := range map[string]bool{"the runtime's": false, "joined": true} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, own, 0)
			p.unchanged(t)
			f(t, p)
		})
	}
}

func TestSharedMountNamespace(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		bundle := newBundle(t)
		volume := t.TempDir()
		spec := newSpec("sh", "-c", `readlink /proc/self/ns/mnt; ls -d /*; pwd; touch /x; touch /vol/x; hostname; stat -c %F /dev/null
			cat /proc/keys | wc -c; echo 1 > /proc/sys/vm/drop_caches; ls /sys/firmware; ls /sys/fs/cgroup | wc -l; cat /up/file; ls / | grep .oldroot`)
		p.edit(spec)
		spec.Root.Readonly = true
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs/up"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bundle, "rootfs/up/file"), []byte("up\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		withMounts(spec, specs.Mount{Destination: "/vol", Type: "bind", Source: volume, Options: []string{"rbind"}},
			specs.Mount{Destination: "/up", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}},
			specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink(namespaceOf(p.pid))
		if err != nil {
			t.Fatal(err)
		}
		want := link + "\n/bin\n/dev\n/etc\n/home\n/proc\n/root\n/sys\n/tmp\n/up\n/vol\n/\ntesthost\ncharacter special file\n0\n"
		if !strings.HasPrefix(res.out, want) || !strings.HasSuffix(res.out, "\nup\n") {
			t.Errorf("got %q, want %q", res.out, want)
		}
		for _, text := range []string{"/x: Read-only", "drop_caches: Read-only"} {
			if !strings.Contains(res.err, text) {
				t.Errorf("%q is missing in %q", text, res.err)
			}
		}
		if _, err := os.Stat(filepath.Join(volume, "x")); err != nil {
			t.Error(err)
		}
	})
}

// TestSharedExec runs more processes, started in either way: their root is the
// container's, not that of the namespace, as with runc.
func TestSharedExec(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		c := background(t, p.edit)
		for name, size := range map[string]int{"by a script": 0, "by a Go program": 100 << 10} {
			process := newProcess("sh", "-c", "ls -d /*; pwd; readlink /proc/self/ns/mnt; readlink /proc/1/ns/mnt")
			process.Env = append(process.Env, "LONG="+strings.Repeat("x", size))
			res, err := execIn(t, c, process)
			lines := strings.Fields(res.out)
			if err != nil || len(lines) != 11 || strings.Join(lines[:9], " ") != "/bin /dev /etc /home /proc /root /sys /tmp /" || lines[9] != lines[10] {
				t.Errorf("%s: got %+v, %v", name, res, err)
			}
		}
		process := newProcess("sh", "-c", "tty; stat -c %F /dev/console")
		process.Terminal = true
		proc, err := c.Exec(t.Context(), ExecOptions{Process: process})
		if err != nil {
			t.Fatal(err)
		}
		if code := wait(t, proc); code != 1 { // there is no console: init has no terminal
			t.Errorf("got %d", code)
		}
	})
}

func TestSharedTerminal(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		spec := newSpec("sh", "-c", "tty && test -c /dev/console && echo > /dev/console")
		p.edit(spec)
		spec.Process.Terminal = true
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err != nil || res.code != 0 {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// TestSharedCreateFails lets the creation fail at points behind each other.
func TestSharedCreateFails(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		for name, edit := range map[string]func(*specs.Spec){
			"no root filesystem": func(s *specs.Spec) { s.Root.Path = "nowhere" },
			"the machine's root": func(s *specs.Spec) { s.Root.Path = "/" },
			"mount":              func(s *specs.Spec) { withMounts(s, specs.Mount{Destination: "/x", Type: "no-such-fs"}) },
			"bind":               func(s *specs.Spec) { withMounts(s, specs.Mount{Destination: "/x", Type: "bind", Source: "/nowhere"}) },
			"runtime hook":       func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}} },
			"container hook":     func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false"}}} },
			"working directory":  func(s *specs.Spec) { s.Process.Cwd = "/etc/passwd" },
			"program":            func(s *specs.Spec) { s.Process.Args = []string{"/nowhere"} },
		} {
			spec := newSpec("true")
			p.edit(spec)
			edit(spec)
			bundle := newBundle(t)
			if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err == nil {
				t.Errorf("%s: no error", name)
			}
			if left := p.mounts(t, bundle); len(left) > 0 {
				t.Errorf("%s: left %q", name, left)
			}
		}
	})
}

// TestSharedKilled ends a container by force, at each of its stages.
func TestSharedKilled(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		for name, start := range map[string]bool{"created": false, "running": true} {
			t.Run(name, func(t *testing.T) {
				r, bundle, spec := newRuntime(t), newBundle(t), newSpec("sleep", "1000")
				p.edit(spec)
				c, process, err := r.Create(t.Context(), testenv.Unique("k"), CreateOptions{Bundle: bundle, Spec: spec})
				if err != nil {
					t.Fatal(err)
				}
				if start {
					if err := c.Start(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if n := len(p.mounts(t, bundle)); n < 5 {
					t.Errorf("there are %d mounts", n)
				}
				if err := unix.Kill(process.Pid, unix.SIGKILL); err != nil {
					t.Error(err)
				}
				wait(t, process)
				// Another process deletes it, which knows what is recorded only.
				again, err := r.Load(c.ID())
				if err == nil {
					err = again.Delete(t.Context(), false)
				}
				if left := p.mounts(t, bundle); err != nil || len(left) > 0 {
					t.Errorf("left %q, %v", left, err)
				}
			})
		}
	})
}

// TestSharedNamespaceGone deletes a container whose mount namespace nobody lives
// in any more: there is nothing to undo.
func TestSharedNamespaceGone(t *testing.T) {
	p := newPlace(t, true, 0)
	r, spec := newRuntime(t), newSpec("sleep", "1000")
	p.edit(spec)
	c, process, err := r.Run(t.Context(), testenv.Unique("g"), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	// While the container lives it holds the namespace, whose path leads nowhere.
	if n := len(place{pid: process.Pid}.mounts(t, "")); n < 5 {
		t.Errorf("there are %d mounts", n)
	}
	if err := unix.Kill(process.Pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wait(t, process)
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

// TestSharedUserNamespace joins a mount namespace together with the user namespace
// that it belongs to, as a container of a pod.
func TestSharedUserNamespace(t *testing.T) {
	bundle := newBundle(t)
	mapped(t, bundle)
	p := newPlace(t, true, unix.CLONE_NEWUSER)
	p.unchanged(t)
	edit := func(s *specs.Spec) {
		p.edit(s)
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/" + strconv.Itoa(p.pid) + "/ns/user"})
	}
	spec := newSpec("sleep", "1000")
	edit(spec)
	volume := t.TempDir()
	withMounts(spec, specs.Mount{Destination: "/vol", Type: "bind", Source: volume, Options: []string{"rbind"}})
	c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	res, err := execIn(t, c, newProcess("sh", "-c", "id -u; cat /proc/self/uid_map; ls -d /vol; touch /x; stat -c %u /x; head -c 2 /dev/zero | wc -c"))
	if err != nil || strings.Join(strings.Fields(res.out), " ") != "0 0 200000 65536 /vol 0 2" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestSharedRefused(t *testing.T) {
	p := newPlace(t, false, 0)
	p.unchanged(t)
	r, bundle, spec := newRuntime(t), newBundle(t), newSpec("sleep", "1000")
	p.edit(spec)
	c := startOf(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	spec = newSpec("true")
	p.edit(spec)
	if err := c.Checkpoint(t.Context(), CheckpointOptions{Images: t.TempDir()}); !errs.Is(err, errs.Unsupported) {
		t.Errorf("checkpoint: got %v", err)
	}
	if _, _, err := r.Restore(t.Context(), "r", CreateOptions{Bundle: bundle, Spec: spec}, CheckpointOptions{Images: t.TempDir()}); !errs.Is(err, errs.Unsupported) {
		t.Errorf("restore: got %v", err)
	}
	if _, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); !errs.Is(err, errs.Conflict) {
		t.Errorf("root filesystem in use: got %v", err)
	}
	_, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec, RootfsMounts: []RootfsMount{{Type: "bind", Source: bundle}}})
	if !errs.Is(err, errs.Unsupported) {
		t.Errorf("mounts of the root filesystem: got %v", err)
	}
	// It goes on as before.
	if res, err := execIn(t, c, newProcess("cat", "/proc/1/comm")); err != nil || res.out != "sleep\n" {
		t.Errorf("got %+v, %v", res, err)
	}
}
