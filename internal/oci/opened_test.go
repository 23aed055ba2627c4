package oci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/testenv"
)

// watchOpens tells which of the files are opened before the returned function is
// called. A handle (O_PATH) is no opening.
func watchOpens(t *testing.T, files ...string) func() []string {
	t.Helper()
	h, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	names := map[int32]string{}
	for _, file := range files {
		w, err := unix.InotifyAddWatch(h, file, unix.IN_OPEN)
		if err != nil {
			t.Fatal(err)
		}
		names[int32(w)] = file
	}
	return func() (opened []string) {
		defer unix.Close(h) //nolint:errcheck // read only
		buf := make([]byte, 1<<16)
		n, err := unix.Read(h, buf)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Error(err)
		}
		for buf = buf[:max(n, 0)]; len(buf) >= unix.SizeofInotifyEvent; {
			opened = append(opened, names[int32(binary.NativeEndian.Uint32(buf))])
			buf = buf[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(buf[12:]):]
		}
		return opened
	}
}

// foreignDevice is what a hostile image has in place of a file: opening it would do
// no harm (it is the network tunnel), where opening another (a watchdog) would.
func foreignDevice(t *testing.T, file string) string {
	t.Helper()
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		t.Fatal(err)
	}
	return file
}

// hostileBundle has foreign devices where the runtime looks for files of its own
// accord; edit shows those of /dev/pts to a container, which is one with a user
// namespace if userNS is set.
func hostileBundle(t *testing.T, userNS bool) (bundle string, files []string, edit func(*specs.Spec)) {
	t.Helper()
	bundle = newBundle(t)
	in := func(name string) string { return filepath.Join(bundle, "rootfs", name) }
	if err := os.MkdirAll(in("fake/pts"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/passwd", "etc/group", "fake/pts/ptmx"} {
		files = append(files, foreignDevice(t, in(name)))
	}
	inNS := func(*specs.Spec) {}
	if userNS {
		inNS = mapped(t, bundle)
	}
	return bundle, files, func(s *specs.Spec) {
		inNS(s)
		s.Mounts[2] = specs.Mount{Destination: "/dev/pts", Type: "bind", Source: in("fake/pts"), Options: []string{"bind"}}
	}
}

// openings are the ways to have the runtime look into a container; fails tells
// that what it finds there is an error.
var openings = map[string]struct {
	user     *NamedUser
	terminal bool
	fails    bool
}{
	"home directory": {},
	"name":           {&NamedUser{User: "bob"}, false, true},
	"terminal":       {nil, true, true},
}

// TestDevicesOfTheImageStayClosed: what the runtime opens of a container's files
// it opens outside of the container's cgroup, where the list of allowed devices
// does not hold.
func TestDevicesOfTheImageStayClosed(t *testing.T) {
	for _, userNS := range []bool{false, true} {
		bundle, files, edit := hostileBundle(t, userNS)
		for name, o := range openings {
			spec := newSpec("true")
			edit(spec)
			spec.Process.Terminal = o.terminal
			opened := watchOpens(t, files...)
			r, id := newRuntime(t), testenv.Unique("dev")
			c, p, err := r.Run(t.Context(), id, CreateOptions{Bundle: bundle, Spec: spec, User: o.user})
			if (err != nil) != o.fails {
				t.Errorf("%s: got %v", name, err)
			}
			if err == nil {
				wait(t, p)
				if err := c.Delete(t.Context(), true); err != nil {
					t.Error(err)
				}
			}
			if list := opened(); len(list) > 0 {
				t.Errorf("%s: %q were opened", name, list)
			}
		}
	}
}

// The same for exec, and for what is executed again and again. There a container
// can have replaced its null device, too, which takes the place of ours where no
// streams are given.
func TestDevicesOfTheImageStayClosedInExec(t *testing.T) {
	for _, userNS := range []bool{false, true} {
		bundle, files, edit := hostileBundle(t, userNS)
		spec := newSpec("sh", "-c", "rm /dev/null && mknod /dev/null c 10 200; touch /tmp/ready; exec sleep 1000")
		edit(spec)
		c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
		inside := fmt.Sprintf("/proc/%d/root", c.Pid())
		eventually(t, "the container is ready", func() bool { return os.Remove(inside+"/tmp/ready") == nil })
		if !userNS { // where nobody makes devices
			files = append(files, inside+"/dev/null")
		}
		for name, o := range openings {
			process := newProcess("true")
			process.Terminal = o.terminal
			opened := watchOpens(t, files...)
			p, err := c.Exec(t.Context(), ExecOptions{Process: process, User: o.user})
			if (err != nil) != o.fails {
				t.Errorf("%s: got %v", name, err)
			}
			if err == nil {
				wait(t, p)
			}
			if small, sock, err := c.Repeat(t.Context(), ExecOptions{Process: newProcess("true"), User: o.user}, time.Minute); err == nil {
				fd.Close(sock) // which ends it
				wait(t, small)
			}
			if list := opened(); len(list) > 0 {
				t.Errorf("%s: %q were opened", name, list)
			}
		}
	}
}

// What the kernel says in a file is no user database, and some of it is lost to
// others when it is read.
func TestUserFileOfTheKernels(t *testing.T) {
	bundle := newBundle(t)
	passwd := filepath.Join(bundle, "rootfs/etc/passwd")
	if err := errors.Join(os.Remove(passwd), os.Symlink("/proc/kmsg", passwd)); err != nil {
		t.Fatal(err)
	}
	c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: newSpec("sleep", "1000")})
	_, err := c.Exec(t.Context(), ExecOptions{Process: newProcess("true"), User: &NamedUser{User: "root"}})
	if !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("got %v", err)
	}
}
