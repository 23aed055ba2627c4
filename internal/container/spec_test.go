package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func testPlan() *plan {
	r := &record{
		ID: "0123456789ab" + "cdef", Name: "web", Path: "/bin/app", Args: []string{"-v"},
		Config: &container.Config{Env: []string{"A=1", "PATH=/bin", "GONE"}, Hostname: "web", WorkingDir: "/srv"},
		Host: &container.HostConfig{
			NetworkMode: "bridge", IpcMode: "private", CgroupnsMode: "private",
			MaskedPaths: defaultMasked, ReadonlyPaths: defaultReadonly,
			Resources: container.Resources{Memory: 64 << 20, NanoCPUs: 1500000000},
		},
		Mounts: []mountPoint{
			{Type: mount.TypeBind, Source: "/src", Destination: "/data", Propagation: "rprivate"},
			{Type: mount.TypeTmpfs, Destination: "/dev/shm", TmpfsOpts: "size=1m,exec", RW: true},
		},
	}
	caps, _ := capabilities(r.Host)
	return &plan{rec: r, bundle: "/b", initBinary: "/init", cgroup: "/gantry/x", hostname: "web", caps: caps, netFiles: true}
}

// The spec of a typical container, as a whole. Run with UPDATE_GOLDEN=1 to
// write it anew, and read the difference.
func TestSpecGolden(t *testing.T) {
	sp, err := testPlan().spec()
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(sp, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "spec.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("spec differs from %s:\n%s", file, got)
	}
}

func TestPrivilegedSpecIsOpen(t *testing.T) {
	p := testPlan()
	p.rec.Host.Privileged, p.rec.Host.MaskedPaths, p.rec.Host.ReadonlyPaths = true, nil, nil
	sp, err := p.spec()
	if err != nil {
		t.Fatal(err)
	}
	if d := sp.Linux.Resources.Devices; len(d) != 1 || !d[0].Allow {
		t.Errorf("devices: %+v", d)
	}
	for _, m := range sp.Mounts {
		if m.Destination == "/sys" && slices.Contains(m.Options, "ro") {
			t.Error("/sys is read-only in a privileged container")
		}
	}
}

func TestHostModesDropNamespaces(t *testing.T) {
	p := testPlan()
	h := p.rec.Host
	h.NetworkMode, h.PidMode, h.IpcMode, h.UTSMode, h.CgroupnsMode = "host", "host", "host", "host", "host"
	sp, err := p.spec()
	if err != nil {
		t.Fatal(err)
	}
	if n := sp.Linux.Namespaces; len(n) != 1 || n[0].Type != "mount" {
		t.Errorf("namespaces %+v, want the mount namespace only", n)
	}
	if sp.Hostname != "" {
		t.Errorf("host name %q set in the host's UTS namespace", sp.Hostname)
	}
}

func TestCapabilities(t *testing.T) {
	has := func(h container.HostConfig, c string) bool {
		set, err := capabilities(&h)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(set, c)
	}
	if has(container.HostConfig{}, "CAP_SYS_ADMIN") || !has(container.HostConfig{}, "CAP_CHOWN") {
		t.Error("defaults are not Docker's")
	}
	if !has(container.HostConfig{CapAdd: []string{"sys_admin"}}, "CAP_SYS_ADMIN") {
		t.Error("cap-add without prefix")
	}
	only := container.HostConfig{CapDrop: []string{"ALL"}, CapAdd: []string{"NET_RAW"}}
	if set, _ := capabilities(&only); !slices.Equal(set, []string{"CAP_NET_RAW"}) {
		t.Errorf("drop ALL, add one: %v", set)
	}
	if has(container.HostConfig{CapAdd: []string{"ALL"}, CapDrop: []string{"MKNOD"}}, "CAP_MKNOD") {
		t.Error("cap-drop must beat cap-add ALL")
	}
	if _, err := capabilities(&container.HostConfig{CapAdd: []string{"FLY"}}); err == nil {
		t.Error("unknown capability accepted")
	}
}

// TestProjectsAreKept: where layers can have limits, no container with a profile
// moves files between projects, whether it has a limit itself or not.
func TestProjectsAreKept(t *testing.T) {
	for _, limits := range []bool{true, false} {
		for profile, confined := range map[string]bool{"": true, `{"defaultAction":"SCMP_ACT_ALLOW"}`: true, "unconfined": false} {
			s, _ := newService(t, &fakeSupervisor{}, func(*record) {})
			s.Images = &fakeRootfs{limits: limits}
			sp, err := s.finishSpec(testPlan(), security{seccomp: profile})
			if err != nil {
				t.Fatal(err)
			}
			kept := false
			if p := sp.Linux.Seccomp; p != nil {
				kept = slices.ContainsFunc(p.Syscalls, func(c specs.LinuxSyscall) bool {
					return slices.Contains(c.Names, "ioctl") && len(c.Args) == 1 && c.Args[0].Index == 1
				})
			}
			if kept != (limits && confined) {
				t.Errorf("limits %v, profile %q: kept %v", limits, profile, kept)
			}
		}
	}
}
