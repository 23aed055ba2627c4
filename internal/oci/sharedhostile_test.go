package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/testenv"
)

// mayEverything gives a process what it needs to mount.
func mayEverything(p *specs.Process) {
	for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_ADMIN")
	}
}

// ended runs a container that may mount to its end and leaves it to be deleted.
func ended(t *testing.T, bundle string, p place, script string) *Container {
	t.Helper()
	spec := newSpec("sh", "-c", script)
	p.edit(spec)
	mayEverything(spec.Process)
	s := newStreams(t, "")
	c, process, err := newRuntime(t).Run(t.Context(), testenv.Unique("h"), CreateOptions{Bundle: bundle, Spec: spec, IO: s.io})
	s.handed()
	if err != nil {
		s.done()
		t.Fatal(err)
	}
	if code := wait(t, process); code != 0 {
		t.Errorf("%d, %s", code, &s.err)
	}
	s.done()
	return c
}

// cover puts a tmpfs with a file in it on a directory until the test ends.
func cover(t *testing.T, dir string) (unmount func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("victim", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	once := false
	unmount = func() {
		if once {
			return
		}
		once = true
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	}
	t.Cleanup(unmount)
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return unmount
}

// TestSharedMountsOverMounts lets a container hide what is to be undone.
func TestSharedMountsOverMounts(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		for _, script := range []string{
			"for i in 1 2 3; do mount -t tmpfs x /; done",
			"mount -t tmpfs x /proc; mount -t tmpfs x /tmp; mkdir /tmp/a; mount -t tmpfs x /tmp/a; mount --bind / /tmp/a",
			"mount --bind /tmp /; mount --make-shared /; mount -t tmpfs x /",
			"umount -l /dev; umount -l /",
		} {
			bundle := newBundle(t)
			c := ended(t, bundle, p, script)
			if err := c.Delete(t.Context(), false); err != nil {
				t.Errorf("%s: %v", script, err)
			}
			if left := p.mounts(t, bundle); len(left) > 0 {
				t.Errorf("%s: left %q", script, left)
			}
		}
	})
}

// TestSharedSwappedDirectories lets the path of the root filesystem lead elsewhere
// when the container is deleted: what is mounted there is not to be touched, and
// what is the container's is to be found.
func TestSharedSwappedDirectories(t *testing.T) {
	for name, swap := range map[string]func(dir, victim string) error{
		"directory": func(dir, victim string) error { return os.Rename(filepath.Dir(victim), dir) },
		"link":      func(dir, victim string) error { return os.Symlink(filepath.Dir(victim), dir) },
		"nothing":   func(string, string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir, moved := filepath.Join(top, "bundle"), filepath.Join(top, "moved")
			if err := os.Rename(newBundle(t), dir); err != nil {
				t.Fatal(err)
			}
			p := newPlace(t, false, 0)
			c := ended(t, dir, p, "true")
			victim := filepath.Join(top, "other/rootfs")
			undo := cover(t, victim)
			err := os.Rename(dir, moved)
			if err == nil {
				err = swap(dir, victim)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(t.Context(), false); err != nil {
				t.Error(err)
			}
			left := p.mounts(t, top)
			if len(left) != 1 || !strings.Contains(left[0], " - tmpfs victim ") {
				t.Errorf("left %q", left)
			}
			if name == "directory" { // where undo looks for it
				if err := os.Rename(dir, filepath.Dir(victim)); err != nil {
					t.Error(err)
				}
			}
			undo()
		})
	}
}

// TestSharedHidden deletes a container whose mounts somebody has covered: nothing of
// that is taken away, and deleting succeeds when it is gone.
func TestSharedHidden(t *testing.T) {
	p := newPlace(t, false, 0)
	p.unchanged(t)
	for _, inner := range []string{"", "a mount"} {
		top := t.TempDir()
		bundle := filepath.Join(top, "bundle")
		if err := os.Rename(newBundle(t), bundle); err != nil {
			t.Fatal(err)
		}
		c := ended(t, bundle, p, "true")
		uncover := cover(t, top)
		if inner != "" { // the path leads to a mount
			err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755)
			if err == nil {
				err = unix.Mount("victim", filepath.Join(bundle, "rootfs"), "tmpfs", 0, "")
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Delete(t.Context(), false); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%q: got %v", inner, err)
		}
		if inner != "" {
			if err := unix.Unmount(filepath.Join(bundle, "rootfs"), 0); err != nil {
				t.Error(err)
			}
		}
		uncover()
		if err := c.Delete(t.Context(), false); err != nil {
			t.Errorf("%q: got %v", inner, err)
		}
	}
}

// TestSharedRootLeft lets the first process leave its root, which a chroot does not
// prevent: nobody else gets there.
func TestSharedRootLeft(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		c := background(t, func(s *specs.Spec) {
			p.edit(s)
			mayEverything(s.Process)
			caps := s.Process.Capabilities
			for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
				*set = append(*set, "CAP_SYS_CHROOT")
			}
			s.Process.Args = []string{"sh", "-c", "mount -t tmpfs x /home; mkdir /home/bin; busybox cp /bin/busybox /home/bin; exec busybox chroot /home /bin/busybox sleep 1000"}
		})
		var err error
		eventually(t, "refused exec", func() bool {
			_, err = execIn(t, c, newProcess("true"))
			return err != nil
		})
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "its first process has not the container's root directory") {
			t.Errorf("got %v", err)
		}
	})
}

// TestSharedForced deletes by force what cannot be undone.
func TestSharedForced(t *testing.T) {
	p := newPlace(t, false, 0)
	p.unchanged(t)
	top := t.TempDir()
	bundle := filepath.Join(top, "bundle")
	if err := os.Rename(newBundle(t), bundle); err != nil {
		t.Fatal(err)
	}
	c := ended(t, bundle, p, "true")
	base := *c.state.Shared.Base
	uncover := cover(t, top)
	if err := c.Delete(t.Context(), true); err != nil {
		t.Error(err)
	}
	uncover()
	if left := p.mounts(t, bundle); len(left) == 0 {
		t.Error("it was undone after all")
	}
	h, err := unix.Open(filepath.Join(bundle, "rootfs"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(h) //nolint:errcheck // a handle
	if id, err := mount.Identify(h); err != nil || id == base {
		t.Errorf("got %+v, %v", id, err) // it is the root, which lies on the base
	}
	for range 2 {
		if err := unix.Unmount(filepath.Join(bundle, "rootfs"), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

// TestSharedTargetsStayInside redirects mounts, devices and masks to the host.
func TestSharedTargetsStayInside(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		host := outside(t)
		bundle := newBundle(t)
		for _, name := range []string{"data", "masked", "readonly", "cwd"} {
			replace(t, bundle, name, host)
		}
		replace(t, bundle, "up", strings.Repeat("../", 20)+host[1:])
		replace(t, bundle, "dev/null", host+"/file")
		replace(t, bundle, "dev/console", host+"/file")
		spec := newSpec("sh", "-c", "touch /data/x /up/y; ls /data; pwd; ls -l /proc/self/fd | grep -c ' -> ' 2>/dev/null")
		p.edit(spec)
		spec.Mounts = append(spec.Mounts[:1], spec.Mounts[3:]...) // no tmpfs on /dev, no devpts
		spec.Process.Cwd = "/cwd"
		spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/masked/file")
		spec.Linux.ReadonlyPaths = append(spec.Linux.ReadonlyPaths, "/readonly/file")
		withMounts(spec, specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs"})
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
		if err != nil || res.out != fmt.Sprintf("x\ny\n%s\n3\n", host) {
			t.Errorf("got %+v, %v", res, err)
		}
		if left := p.mounts(t, host); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	})
}

// TestSharedPropagation has the root filesystem on a mount whose changes appear in
// another namespace, and something mounted in it: the other one gets no more than
// it would of any bind mount, and nothing stays there.
func TestSharedPropagation(t *testing.T) {
	dir := sharedMount(t)
	bundle := filepath.Join(dir, "bundle")
	if err := os.CopyFS(bundle, os.DirFS(newBundle(t))); err != nil {
		t.Fatal(err)
	}
	cover(t, filepath.Join(bundle, "rootfs/home"))
	peer := newPlace(t, true, 0)
	for name, p := range map[string]place{"the runtime's": newPlace(t, false, 0), "joined": peer} {
		t.Run(name, func(t *testing.T) {
			p.unchanged(t)
			peer.unchanged(t)
			spec := newSpec("sleep", "1000")
			p.edit(spec)
			mayEverything(spec.Process)
			withMounts(spec, specs.Mount{Destination: "/vol", Type: "bind", Source: dir, Options: []string{"rbind"}})
			c := startOf(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
			process := newProcess("sh", "-c", `mount -t tmpfs inner /vol/in && mount -t tmpfs inner /home && mount --bind /bin/busybox /proc/keys &&
				ls /home; stat -c %F /dev/null`)
			mayEverything(process)
			if res, err := execIn(t, c, process); err != nil || res.out != "character special file\n" {
				t.Errorf("got %+v, %v", res, err)
			}
			for _, o := range []place{newPlace(t, false, 0), peer} {
				if got := o.mounts(t, " "+dir+"/in "); len(got) > 0 {
					t.Errorf("the container's mount appears: %q", got)
				}
				if o.pid != p.pid {
					if got := o.mounts(t, bundle+"/rootfs/"); len(got) != 1 { // home, as before
						t.Errorf("the other namespace has %q", got)
					}
				}
			}
		})
	}
}
