package plan

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci/specjson"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden builds the plan of every specification in testdata and compares it
// with the plan beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.spec.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no specifications", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := specjson.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			p, namespaces, err := Build("golden", spec, "/bundle/rootfs")
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(map[string]any{"init": p, "namespaces": namespaces}, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := strings.TrimSuffix(file, ".spec.json") + ".plan.json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("the plan differs from %s (rerun with -update if that is right):\n%s", golden, got)
			}
		})
	}
}

func TestSysctlNames(t *testing.T) {
	for key, want := range map[string][2]string{
		"net.ipv4.ip_forward":          {"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
		"net/ipv4/ip_forward":          {"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
		"net/ipv4/conf/eno2.100/proxy": {"net.ipv4.conf.eno2\x00100.proxy", "net/ipv4/conf/eno2.100/proxy"},
		"net.ipv4.conf.eno2/100.proxy": {"net.ipv4.conf.eno2/100.proxy", "net/ipv4/conf/eno2.100/proxy"},
		"kernel.shm_rmid_forced":       {"kernel.shm_rmid_forced", "kernel/shm_rmid_forced"},
	} {
		if got := [2]string{SysctlName(key), SysctlPath(key)}; got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	all := func(uintptr, string) bool { return true }
	none := func(uintptr, string) bool { return false }
	for key, private := range map[string]bool{
		"net.core.somaxconn": true, "fs.mqueue.msg_max": true, "kernel.sem": true, "user.max_user_namespaces": true,
		"kernel.panic": false, "vm.swappiness": false, "kernel.hostname": false, "net/../kernel/panic": false,
		"net..core": false, "net/./x": false, "net": false, "": false, "net.": false, "/net/x": false,
	} {
		if err := checkSysctl(key, all); (err == nil) != private {
			t.Errorf("%q in private namespaces: got %v", key, err)
		}
		if err := checkSysctl(key, none); err == nil {
			t.Errorf("%q in the host's namespaces was accepted", key)
		}
	}
}

func TestBuildProcess(t *testing.T) {
	base := func() *specs.Process { return &specs.Process{Args: []string{"a"}, Cwd: "/"} }
	p, err := BuildProcess(&specs.Process{
		Args: []string{"a"}, Cwd: "/", Env: []string{"A=1", "B=2", "A=3", "C"},
		ConsoleSize: &specs.Box{Height: 1 << 20, Width: 80},
		Capabilities: &specs.LinuxCapabilities{
			Permitted: []string{"CAP_KILL", "CAP_CHOWN"}, Effective: []string{"CAP_KILL", "CAP_SYS_ADMIN"},
			Inheritable: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_KILL", "CAP_CHOWN", "CAP_NOT_YET"},
		},
		Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}},
	}, map[string]string{AnnotationExactLimits: "true"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Env, " "); got != "A=3 B=2 C" {
		t.Errorf("environment %q", got)
	}
	if p.Height != 65535 || p.Width != 80 || !p.ExactLimits || p.Rlimits[0].Resource != unix.RLIMIT_NOFILE {
		t.Errorf("%+v", p)
	}
	if got := p.Caps.Effective.String() + " " + p.Caps.Ambient.String(); got != "CAP_KILL CAP_CHOWN" {
		t.Errorf("effective and ambient: %q", got)
	}
	for name, edit := range map[string]func(*specs.Process){
		"soft above hard": func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}} },
		"limit twice":     func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}} },
		"I/O class":       func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "x"} },
		"I/O level": func(p *specs.Process) {
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		},
		"policy": func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: "x"} },
		"scheduler flag": func(p *specs.Process) {
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"x"}}
		},
		"nice":        func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 20} },
		"priority":    func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Priority: 1} },
		"deadline":    func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedRR, Period: 1} },
		"CPUs":        func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Final: "x"} },
		"NUL in args": func(p *specs.Process) { p.Args = []string{"a\x00"} },
		"NUL in cwd":  func(p *specs.Process) { p.Cwd = "/\x00" },
		"gid":         func(p *specs.Process) { p.User.GID = ^uint32(0) },
	} {
		p := base()
		edit(p)
		if _, err := BuildProcess(p, nil); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestSharedMountNamespace plans containers whose mount namespace is not their own.
func TestSharedMountNamespace(t *testing.T) {
	users := []specs.LinuxIDMapping{{Size: 1}}
	theirs := func(kind specs.LinuxNamespaceType) specs.LinuxNamespace {
		return specs.LinuxNamespace{Type: kind, Path: "/proc/1/ns/x"}
	}
	for name, tc := range map[string]struct {
		list   []specs.LinuxNamespace
		users  []specs.LinuxIDMapping
		shared bool
		err    string
	}{
		"own":                        {[]specs.LinuxNamespace{{Type: "mount"}}, nil, false, ""},
		"none":                       {nil, nil, true, ""},
		"theirs":                     {[]specs.LinuxNamespace{theirs("mount")}, nil, true, ""},
		"theirs, and their users":    {[]specs.LinuxNamespace{theirs("mount"), theirs("user")}, nil, true, ""},
		"none, new users":            {[]specs.LinuxNamespace{{Type: "user"}}, users, false, "it has no right to mount in the runtime's"},
		"none, users of others":      {[]specs.LinuxNamespace{theirs("user")}, nil, false, "it has no right to mount in the runtime's"},
		"theirs, and users of mine":  {[]specs.LinuxNamespace{theirs("mount"), {Type: "user"}}, users, false, "it has no right to mount there"},
		"own in the users of others": {[]specs.LinuxNamespace{{Type: "mount"}, theirs("user")}, nil, false, ""},
	} {
		l := &specs.Linux{Namespaces: tc.list, UIDMappings: tc.users, GIDMappings: tc.users}
		p, _, err := Build("x", &specs.Spec{
			Root: &specs.Root{Path: "r"}, Linux: l, Process: &specs.Process{Args: []string{"x"}, Cwd: "/"},
		}, "/r")
		if tc.err == "" {
			if err != nil || p.Root.Shared != tc.shared {
				t.Errorf("%s: got %+v, %v", name, p, err)
			}
		} else if !errs.Is(err, errs.InvalidArgument) || !strings.HasSuffix(err.Error(), tc.err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHostDevIsLeftAlone(t *testing.T) {
	spec := &specs.Spec{
		Root:   &specs.Root{Path: "r"},
		Linux:  &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
		Mounts: []specs.Mount{{Destination: "/dev", Type: "bind", Source: "/dev", Options: []string{"rbind"}}},
	}
	p, _, err := Build("x", spec, "/r")
	if err != nil || len(p.Root.Devices) > 0 || len(p.Root.Links) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}
