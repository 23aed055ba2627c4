package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestSharedRootPropagation sets that of the root filesystem, and no other.
func TestSharedRootPropagation(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		for option, want := range map[string]string{
			"": "-", "private": "-", "rslave": "-", "shared": "shared:", "rshared": "shared:", "unbindable": "unbindable",
		} {
			spec := newSpec("sh", "-c", "grep ' / / ' /proc/self/mountinfo; grep rootfs /proc/self/mountinfo; true")
			p.edit(spec)
			spec.Linux.RootfsPropagation = option
			res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
			fields := strings.Fields(res.out)
			if err != nil || len(fields) < 7 || !strings.HasPrefix(fields[6], want) {
				t.Errorf("%q: got %+v, %v", option, res, err)
			}
		}
	})
}

// TestSharedHooks runs hooks of all kinds: where they belong, when all is mounted.
func TestSharedHooks(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		bundle, log := newBundle(t), filepath.Join(t.TempDir(), "log")
		root := filepath.Join(bundle, "rootfs")
		hook := func(name string) []specs.Hook {
			const script = `echo "$0 $(busybox readlink /proc/self/ns/mnt) $(busybox ls $1/proc | busybox grep -c ^version)" >> $2`
			return []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", script, name, root, log}, Env: []string{"PATH=/bin"}}}
		}
		spec := newSpec("cat", "/started")
		p.edit(spec)
		spec.Hooks = &specs.Hooks{
			CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), Poststop: hook("poststop"),
			StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo in > /started"}}},
		}
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
		if err != nil || res.out != "in\n" {
			t.Errorf("got %+v, %v", res, err)
		}
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.Readlink("/proc/self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.Readlink(namespaceOf(p.pid))
		if err != nil {
			t.Fatal(err)
		}
		seen := "0" // the runtime's hooks see the mounts if the namespace is the runtime's
		if ours == theirs {
			seen = "1"
		}
		want := "createRuntime " + ours + " " + seen + "\ncreateContainer " + theirs + " 1\npoststop " + ours + " 0\n"
		if string(data) != want {
			t.Errorf("got %q, want %q", data, want)
		}
	})
}

// TestSharedMappedMount gives a mount ids of its own.
func TestSharedMappedMount(t *testing.T) {
	inPlaces(t, func(t *testing.T, p place) {
		testenv.Need(t, testenv.UserNS)
		source := owned(t, t.TempDir())
		needMapping(t, source)
		spec := withMounts(newSpec("stat", "-c", "%u", "/vol/five"), specs.Mount{
			Destination: "/vol", Type: "bind", Source: source, Options: []string{"bind", "idmap"},
			UIDMappings: []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}, GIDMappings: []specs.LinuxIDMapping{{HostID: 1000, Size: 10}},
		})
		p.edit(spec)
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err != nil || res.out != "1005\n" {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}
