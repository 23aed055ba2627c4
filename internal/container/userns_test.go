package container

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

var testRemap = user.IdentityMapping{
	UIDMaps: []user.IDMap{{ID: 0, ParentID: 100000, Count: 1000}, {ID: 1000, ParentID: 300000, Count: 5000}},
	GIDMaps: []user.IDMap{{ID: 0, ParentID: 200000, Count: 6000}},
}

func mountAt(t *testing.T, sp *specs.Spec, destination string) specs.Mount {
	t.Helper()
	for _, m := range sp.Mounts {
		if m.Destination == destination {
			return m
		}
	}
	t.Fatalf("nothing is mounted at %s", destination)
	return specs.Mount{}
}

// TestRemappedSpec: what is the daemon's own is mounted with mapped ids, and what is
// the machine's is not.
func TestRemappedSpec(t *testing.T) {
	p := testPlan()
	p.ids = &testRemap
	p.rec.Mounts = append(p.rec.Mounts,
		mountPoint{Type: mount.TypeVolume, Source: "/volumes/a", Destination: "/a", RW: true, mapped: true},
		mountPoint{Type: mount.TypeVolume, Source: "/volumes/b", Destination: "/b", RW: true}, // shows something of the machine's
		mountPoint{Type: mount.TypeImage, Destination: "/img", overlay: []string{"lowerdir=/x:/y"}, mapped: true})
	p.devices = []device{{specs.LinuxDevice{Path: "/dev/fuse"}, "/dev/fuse"}, {specs.LinuxDevice{Path: "/dev/nil"}, "/dev/zero"}}
	sp, err := p.spec()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(sp.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}) {
		t.Errorf("namespaces %+v", sp.Linux.Namespaces)
	}
	if m := sp.Linux.UIDMappings; len(m) != 2 || m[1] != (specs.LinuxIDMapping{ContainerID: 1000, HostID: 300000, Size: 5000}) {
		t.Errorf("uid mappings %+v", m)
	}
	if m := sp.Linux.GIDMappings; len(m) != 1 || m[0] != (specs.LinuxIDMapping{HostID: 200000, Size: 6000}) {
		t.Errorf("gid mappings %+v", m)
	}
	for name, mapped := range map[string]bool{"/etc/hosts": true, "/etc/resolv.conf": true, "/etc/hostname": true, "/a": true, "/img": true, "/b": false, "/data": false, "/proc": false} {
		if m := mountAt(t, sp, name); slices.Contains(m.Options, idmap) != mapped {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if got := sp.Linux.Sysctl["net.ipv4.ping_group_range"]; got != "0 5999" {
		t.Errorf("groups that may ping: %s", got)
	}
	if len(sp.Linux.Devices) != 1 || sp.Linux.Devices[0].Path != "/dev/fuse" || mountAt(t, sp, "/dev/nil").Source != "/dev/zero" {
		t.Errorf("devices %+v", sp.Linux.Devices)
	}
}

func TestRemappedHostIPC(t *testing.T) {
	for _, queues := range []bool{true, false} {
		p := testPlan()
		p.ids, p.hostQueues, p.rec.Host.IpcMode = &testRemap, queues, "host"
		sp, err := p.spec()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(sp.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/mqueue" })
		if (i >= 0) != queues || i >= 0 && sp.Mounts[i].Type != "bind" {
			t.Errorf("with queues %v: %+v", queues, sp.Mounts)
		}
	}
}

// TestRemapRefused: what contradicts a user namespace is refused when it is created,
// and when it starts, as the daemon may have got its mappings in between.
func TestRemapRefused(t *testing.T) {
	for want, change := range map[string]func(h *container.HostConfig){
		"privileged mode is incompatible with user namespaces":                       func(h *container.HostConfig) { h.Privileged = true },
		"cannot share the host's network namespace when user namespaces are enabled": func(h *container.HostConfig) { h.NetworkMode = "host" },
		"cannot share the host PID namespace when user namespaces are enabled":       func(h *container.HostConfig) { h.PidMode = "host" },
	} {
		s, c := newService(t, &fakeSupervisor{}, func(r *record) { change(r.Host) })
		if err := s.checkUserns(c.rec.Host); err != nil {
			t.Errorf("without mappings: %v", err)
		}
		s.Remap = testRemap
		if err := s.checkUserns(c.rec.Host); !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
		if err := s.Start(t.Context(), c.rec.ID); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: got %v", err)
		}
		c.rec.Host.UsernsMode = "host"
		if err := s.checkUserns(c.rec.Host); err != nil {
			t.Errorf("in the host's: %v", err)
		}
	}
}

// TestRemapRecorded: the mappings of a run are on record before it is one.
func TestRemapRecorded(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, func(*record) {})
	for _, mode := range []container.UsernsMode{"", "host"} {
		c.rec.Host.UsernsMode, s.Remap = mode, testRemap
		users, ids, done, err := s.users(&c.rec)
		if err != nil {
			t.Fatal(err)
		}
		done()
		if private := mode == ""; users.Mapped != private || (ids != nil) != private {
			t.Errorf("%q: %+v, %v", mode, users, ids)
		}
		r := c.view()
		r.State.Remap = ids
		if err := s.recordStart(c, &r); err != nil {
			t.Fatal(err)
		}
		if got := s.saved(t, c).State.Remap; (got != nil) != (mode == "") || got != nil && got.UIDMaps[1].ParentID != 300000 {
			t.Errorf("%q: %+v", mode, got)
		}
	}
}

// TestUserNamespacesDoNotMix: containers in the machine's user namespace and others
// share no namespaces, whatever the daemon is told.
func TestUserNamespacesDoNotMix(t *testing.T) {
	own := "it is in a user namespace of its own"
	for _, c := range []struct {
		mode          container.UsernsMode
		remap, mapped bool // the daemon, the donor
		want          string
	}{
		{"host", true, true, own + ", which this one cannot be in with --userns=host"},
		{"host", false, true, own + ", which this one cannot be in with --userns=host"},
		{"", false, true, own + ", from before the daemon lost its userns-remap: restart it first"},
		{"", true, false, "it is in the host's user namespace"},
		{"host", true, false, ""},
		{"host", false, false, ""},
		{"", false, false, ""},
	} {
		s, donor := newService(t, &fakeSupervisor{}, func(r *record) { r.State.Status, r.State.Pid = container.StateRunning, 1 })
		if c.mapped {
			donor.rec.State.Remap = &testRemap
		}
		if c.remap {
			s.Remap = testRemap
		}
		for kind, set := range map[string]func(h *container.HostConfig, id string){
			"network": func(h *container.HostConfig, id string) { h.NetworkMode = container.NetworkMode("container:" + id) },
			"pid":     func(h *container.HostConfig, id string) { h.PidMode = container.PidMode("container:" + id) },
			"ipc":     func(h *container.HostConfig, id string) { h.IpcMode = container.IpcMode("container:" + id) },
		} {
			r := record{ID: newID(), Host: &container.HostConfig{UsernsMode: c.mode}}
			set(r.Host, donor.rec.ID)
			_, _, done, err := s.users(&r)
			switch {
			case c.want == "" && err == nil:
				done()
			case c.want == "" || !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), c.want):
				t.Errorf("%s of %+v: %v", kind, c, err)
			}
		}
	}
}
