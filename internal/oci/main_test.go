package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/testenv"
)

// The test binary is its containers' init as well.
func init() { boot.LockMainThread() }

// cgroupRoot holds all cgroups of these tests.
var cgroupRoot = fmt.Sprintf("/gantry-oci-test-%d", os.Getpid())

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == boot.Verb {
		os.Exit(boot.Main(os.Args[2:]))
	}
	if err := openShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testenv.Main(m, testenv.Options{
		Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Mounts, testenv.Children, testenv.Cgroups(cgroupRoot)},
		Setup: func() (func() error, error) {
			return func() error { return testenv.RemoveCgroups(cgroupRoot) }, nil
		},
	})
}

// openShared opens what is opened once for the whole process and kept, so that
// it is no leak.
func openShared() error {
	_, err := fd.SealedSelf(false)
	if err != nil {
		return err
	}
	if _, err = bare.Executable(); err != nil {
		return err
	}
	if _, err = fd.DevNull(); err != nil {
		return err
	}
	return nil
}

// newRuntime makes a Runtime with a state directory of its own.
func newRuntime(t testing.TB) *Runtime {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/bin/busybox"))
	r, err := New(Options{Root: t.TempDir(), Log: slog.New(slog.NewTextHandler(testLog{t}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// applets are linked to busybox in every test root.
var applets = []string{
	"sh", "true", "false", "cat", "ls", "id", "sleep", "echo", "mount", "umount", "ps", "stat", "mkdir", "mknod", "touch", "kill",
	"grep", "hostname", "readlink", "tty", "stty", "dd", "env", "pwd", "rm", "head", "setuidgid", "seq", "wc", "printf", "chmod", "test", "tail", "find",
}

// newBundle makes a bundle with a busybox root.
func newBundle(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/bob"} {
		must(os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755))
	}
	busybox, err := os.ReadFile("/bin/busybox")
	must(err)
	must(os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), busybox, 0o755))
	for _, a := range applets {
		must(os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", a)))
	}
	must(os.WriteFile(filepath.Join(dir, "rootfs/etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "rootfs/etc/group"), []byte("root:x:0:\nbob:x:1000:\nwheel:x:10:bob\n"), 0o644))
	return dir
}

// newSpec is what most tests start from: all namespaces, few capabilities.
func newSpec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW"}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root: &specs.Root{Path: "rootfs"}, Hostname: "testhost",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroupRoot + "/" + testenv.Unique("c"),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources:     &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths:   []string{"/proc/keys", "/proc/kcore", "/proc/acpi", "/sys/firmware", "/proc/not-there"},
			ReadonlyPaths: []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/bus"},
		},
	}
}

// streams collects what a process writes.
type streams struct {
	io       IO
	out, err bytes.Buffer
	ours     []*os.File
	wait     sync.WaitGroup
}

func newStreams(t testing.TB, stdin string) *streams {
	t.Helper()
	s := &streams{}
	pipe := func() (*os.File, *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return r, w
	}
	collect := func(to *bytes.Buffer) *os.File {
		r, w := pipe()
		s.ours = append(s.ours, r)
		s.wait.Go(func() { _, _ = io.Copy(to, r) })
		return w
	}
	s.io.Stdout, s.io.Stderr = collect(&s.out), collect(&s.err)
	if stdin != "" {
		r, w := pipe()
		s.io.Stdin = r
		s.wait.Go(func() { _, _ = io.WriteString(w, stdin); _ = w.Close() })
	}
	return s
}

// handed closes the ends that the process has now.
func (s *streams) handed() {
	for _, f := range []*os.File{s.io.Stdin, s.io.Stdout, s.io.Stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (s *streams) done() {
	s.wait.Wait()
	for _, f := range s.ours {
		_ = f.Close()
	}
}

// wait reaps a process and gives its exit code, 128+n for signal n.
func wait(t testing.TB, p *Process) int {
	t.Helper()
	defer func() {
		_ = p.PidFD.Close()
		if p.Console != nil {
			_ = p.Console.Close()
		}
	}()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("wait for %d: %v", p.Pid, err)
		}
		break
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// result is what a finished process left.
type result struct {
	code     int
	out, err string
}

// runSpec runs a container to its end and deletes it.
func runSpec(t testing.TB, r *Runtime, o CreateOptions) (result, error) {
	t.Helper()
	id := testenv.Unique("run")
	s := newStreams(t, "")
	if o.IO == (IO{}) {
		o.IO = s.io
	}
	c, p, err := r.Run(t.Context(), id, o)
	s.handed()
	if err != nil {
		s.done()
		requireNoTrace(t, r, id)
		return result{}, err
	}
	code := wait(t, p)
	s.done()
	if err := c.Delete(t.Context(), false); err != nil {
		t.Errorf("delete: %v", err)
	}
	requireNoTrace(t, r, id)
	return result{code, s.out.String(), s.err.String()}, nil
}

// run runs a shell command in a new container of the spec as changed by edit.
func run(t testing.TB, script string, edit func(*specs.Spec)) result {
	t.Helper()
	spec := newSpec("sh", "-c", script)
	if edit != nil {
		edit(spec)
	}
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatalf("run %q: %v", script, err)
	}
	return res
}

// background starts a container that sleeps, and ends it with the test.
func background(t testing.TB, edit func(*specs.Spec)) *Container {
	t.Helper()
	r := newRuntime(t)
	spec := newSpec("sleep", "1000")
	if edit != nil {
		edit(spec)
	}
	return startOf(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
}

// startOf starts a container that is ended with the test.
func startOf(t testing.TB, r *Runtime, o CreateOptions) *Container {
	t.Helper()
	c, p, err := r.Run(t.Context(), testenv.Unique("bg"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		_ = c.Signal(ctx, unix.SIGKILL, false)
		wait(t, p)
		if err := c.Delete(ctx, true); err != nil {
			t.Error(err)
		}
	})
	return c
}

// execIn runs a process in a container to its end.
func execIn(t testing.TB, c *Container, p *specs.Process) (result, error) {
	t.Helper()
	s := newStreams(t, "")
	proc, err := c.Exec(t.Context(), ExecOptions{Process: p, IO: s.io})
	s.handed()
	if err != nil {
		s.done()
		return result{}, err
	}
	code := wait(t, proc)
	s.done()
	return result{code, s.out.String(), s.err.String()}, nil
}

// newProcess is a process for Exec.
func newProcess(args ...string) *specs.Process {
	p := newSpec(args...).Process
	return p
}

// requireNoTrace fails if anything of a container is left.
func requireNoTrace(t testing.TB, r *Runtime, id string) {
	t.Helper()
	if _, err := os.Lstat(r.dir(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state of %s is left: %v", id, err)
	}
}

// eventually waits for a condition that the kernel makes true on its own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
