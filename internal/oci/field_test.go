package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// TestFields looks from inside at what single fields of the specification do, for
// both ways of birth. docs/reference/runtime.md says where the others are tested.
func TestFields(t *testing.T) {
	umask, score := uint32(0o027), 500
	for name, tc := range map[string]struct {
		edit         func(*specs.Spec)
		script, want string
	}{
		"scheduler": {
			func(s *specs.Spec) {
				s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: -5, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
			},
			// nice value and policy of this process, and of a child
			`read -r stat < /proc/$$/stat; set -- ${stat##*)}; echo ${17} ${39}; stat=$(cat /proc/self/stat); set -- ${stat##*)}; echo ${17} ${39}`,
			"-5 3\n0 3\n",
		},
		"ioPriority": {
			func(s *specs.Spec) {
				s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
			},
			"busybox ionice -p $$", "best-effort: prio 6\n",
		},
		"personality": {
			func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} },
			"cat /proc/$$/personality", "00000008\n",
		},
		"umask":       {func(s *specs.Spec) { s.Process.User.Umask = &umask }, "umask", "0027\n"},
		"oomScoreAdj": {func(s *specs.Spec) { s.Process.OOMScoreAdj = &score }, "cat /proc/$$/oom_score_adj", "500\n"},
		"no new privileges": {
			func(s *specs.Spec) { s.Process.NoNewPrivileges = true },
			"grep NoNewPrivs /proc/$$/status", "NoNewPrivs:\t1\n",
		},
		"devices": {
			func(s *specs.Spec) {
				mode, id := os.FileMode(0o640), uint32(7)
				s.Linux.Devices = []specs.LinuxDevice{
					{Path: "/dev/mem2", Type: "c", Major: 1, Minor: 1, FileMode: &mode, UID: &id, GID: &id},
					{Path: "/dev/pipe", Type: "p"},
				}
			},
			"stat -c '%F %t:%T %a %u:%g' /dev/mem2; stat -c %F /dev/pipe", "character special file 1:1 640 7:7\nfifo\n",
		},
		"domainname": {func(s *specs.Spec) { s.Domainname = "example.org" }, "cat /proc/sys/kernel/domainname", "example.org\n"},
		"tmpfs options": {
			func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/t", Type: "tmpfs", Source: "mine", Options: []string{"ro", "nosuid", "noexec", "noatime", "nodiratime", "size=8k", "mode=711"}})
			},
			"grep ' /t ' /proc/mounts | { read a b c d e; echo $a ${d%,inode64}; }", "mine ro,nosuid,noexec,noatime,nodiratime,size=8k,mode=711\n",
		},
		"propagation": {
			func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" },
			"grep ' / / ' /proc/self/mountinfo | grep -o shared: || grep ' / ' /proc/self/mountinfo | head -n 1 | grep -o shared:", "shared:\n",
		},
		"fields of other platforms": {
			func(s *specs.Spec) {
				s.VM = &specs.VM{Kernel: specs.VMKernel{Path: "/k"}}
				s.Windows = &specs.Windows{LayerFolders: []string{"x"}}
				s.Process.CommandLine, s.Process.User.Username = "x", "nobody"
			},
			"id -u", "0\n",
		},
	} {
		for birth, change := range map[string]func(*specs.Spec){"thread": func(*specs.Spec) {}, "process": withHook} {
			if res := run(t, tc.script, func(s *specs.Spec) { tc.edit(s); change(s) }); res.out != tc.want {
				t.Errorf("%s, %s: got %q %q, want %q", name, birth, res.out, res.err, tc.want)
			}
		}
	}
}

// TestRelativeBindSource: it is looked for in the bundle, wherever the runtime runs.
func TestRelativeBindSource(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	if err := os.WriteFile(filepath.Join(bundle, "beside"), []byte("beside the root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: withMounts(newSpec("cat", "/file"),
		specs.Mount{Destination: "/file", Type: "bind", Source: "beside", Options: []string{"bind"}})})
	if err != nil || res.out != "beside the root\n" {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestOurNamespacesByPath: who joins a namespace of the machine by its path must not
// change the machine by settings that are meant for a container.
func TestOurNamespacesByPath(t *testing.T) {
	testenv.Need(t, testenv.Root)
	r := newRuntime(t)
	ours := func(s *specs.Spec, kind specs.LinuxNamespaceType, file string) {
		s.Hostname = ""
		s.Linux.Namespaces = append(without(s, kind), specs.LinuxNamespace{Type: kind, Path: fmt.Sprintf("/proc/%d/ns/%s", os.Getpid(), file)})
	}
	for text, edit := range map[string]func(*specs.Spec){
		"hostname is not allowed in the hosts uts namespace": func(s *specs.Spec) { ours(s, "uts", "uts"); s.Hostname = "changed" },
		"sysctl net.ipv4.ip_forward is not allowed in the hosts network namespace": func(s *specs.Spec) {
			ours(s, "network", "net")
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		},
		"sysctl kernel.msgmax is not allowed in the hosts ipc namespace": func(s *specs.Spec) {
			ours(s, "ipc", "ipc")
			s.Linux.Sysctl = map[string]string{"kernel.msgmax": "4242"}
		},
		"network device lo is not allowed in the hosts network namespace": func(s *specs.Spec) {
			ours(s, "network", "net")
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"lo": {}}
		},
	} {
		spec := newSpec("true")
		edit(spec)
		_, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
		if err == nil || err.Error() != text || !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("got %v, want %s", err, text)
		}
	}
	// Without a change there is nothing to refuse.
	spec := newSpec("readlink", "/proc/self/ns/uts")
	ours(spec, "uts", "uts")
	link, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil || strings.TrimSpace(res.out) != link {
		t.Errorf("got %+v, %v", res, err)
	}
}
