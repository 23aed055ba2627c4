package criu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.Goroutines, testenv.Children}})
}

// TestRequest compares requests with what criu's own definition makes of them.
func TestRequest(t *testing.T) {
	full := &Options{
		Images: 7, Work: 8, LogFile: "dump.log", ConfigFile: "/etc/criu/runc.conf", Root: "/root", Pid: 70000, ParentImages: "../parent", FreezeCgroup: "/sys/fs/cgroup/x",
		LeaveRunning: true, TCPEstablished: true, TCPSkipInFlight: true, ExtUnixSockets: true, ShellJob: true, FileLocks: true, LinkRemap: true, AutoDedup: true, LazyPages: true,
		EmptyNamespaces: unix.CLONE_NEWNET, PageServer: PageServer{"10.0.0.1", 1234}, CgroupMode: CgroupModes["strict"],
		CgroupRoots: []CgroupRoot{{"cpu", "/a"}, {"", "/b"}}, External: []string{"net[1]:a", "pid[2]:b"},
		ExternalMounts: []Mapping{{"/a", "/b"}, {"/c", "/d"}}, Inherited: []Inherited{{"pipe:[1]", 0}, {"extRootNetNS", 4}},
		Joined: []Mapping{{"ipc", "/proc/1/ns/ipc"}}, LSMProfile: "apparmor:x", LSMMountContext: "system_u",
	}
	for _, tc := range []struct {
		verb Verb
		o    *Options
		want string
	}{
		{notification, nil, `type:NOTIFY notify_success:true`},
		{PreDump, &Options{Images: 3, Pid: 5, CgroupMode: CgroupModes[""]},
			`type:PRE_DUMP opts:{images_dir_fd:3 pid:5 log_level:4 notify_scripts:true manage_cgroups:true manage_cgroups_mode:SOFT orphan_pts_master:true}`},
		{Restore, full, `type:RESTORE opts:{images_dir_fd:7 pid:70000 leave_running:true ext_unix_sk:true tcp_established:true evasive_devices:true shell_job:true
			file_locks:true log_level:4 log_file:"dump.log" ps:{address:"10.0.0.1" port:1234} notify_scripts:true root:"/root" parent_img:"../parent" track_mem:true
			auto_dedup:true work_dir_fd:8 link_remap:true ext_mnt:{key:"/a" val:"/b"} ext_mnt:{key:"/c" val:"/d"} manage_cgroups:true cg_root:{ctrl:"cpu" path:"/a"}
			cg_root:{path:"/b"} rst_sibling:true inherit_fd:{key:"pipe:[1]" fd:0} inherit_fd:{key:"extRootNetNS" fd:4} manage_cgroups_mode:STRICT
			external:"net[1]:a" external:"pid[2]:b" empty_ns:1073741824 join_ns:{ns:"ipc" ns_file:"/proc/1/ns/ipc"} freeze_cgroup:"/sys/fs/cgroup/x"
			tcp_skip_in_flight:true lazy_pages:true orphan_pts_master:true config_file:"/etc/criu/runc.conf" lsm_profile:"apparmor:x" lsm_mount_context:"system_u"}`},
	} {
		var got, want rpc.CriuReq
		if err := proto.Unmarshal(request(tc.verb, tc.o), &got); err != nil {
			t.Errorf("%s: %v", tc.want, err)
			continue
		}
		if err := prototext.Unmarshal([]byte(tc.want), &want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, &want) {
			t.Errorf("got  %s\nwant %s", prototext.Format(&got), prototext.Format(&want))
		}
	}
}

func TestAnswer(t *testing.T) {
	for text, want := range map[string]answer{
		`type:DUMP success:true dump:{restored:true}`:                             {verb: Dump, success: true},
		`type:RESTORE success:true restore:{pid:300}`:                             {verb: Restore, success: true},
		`type:NOTIFY success:true notify:{script:"post-restore" pid:123456}`:      {verb: notification, success: true, script: "post-restore", pid: 123456},
		`type:DUMP success:false cr_errno:3 cr_errmsg:"why" features:{} status:1`: {verb: Dump, errno: 3},
	} {
		var resp rpc.CriuResp
		if err := prototext.Unmarshal([]byte(text), &resp); err != nil {
			t.Fatal(err)
		}
		data, err := proto.Marshal(&resp)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(data); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
		if _, err := decode(data[:len(data)-1]); err == nil {
			t.Errorf("%s: its head was accepted", text)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{8, 6, 16, 1, 42, 2, 10, 0})
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = decode(data) })
}

// TestFailures starts programs that are not criu.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	images, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(images) }()
	o := &Options{Images: images, LogFile: "dump.log", Pid: os.Getpid()}
	never := func(Notification) error { t.Error("it was told something"); return nil }
	err = (&Process{Program: "/no/such/criu", Cgroup: -1}).Run(Dump, o, never)
	if !errs.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "/no/such/criu") {
		t.Errorf("no program: %v", err)
	}
	if err = (&Process{Program: "/bin/true", Cgroup: -1}).Run(Dump, o, never); err == nil || err.Error() != "criu died" {
		t.Errorf("one that ends: %v", err)
	}
	log := "(00.1) Error (criu/util.c:642): exited, status=1\n(00.2) fine\n(00.3) Error (criu/vdso.c:381): vdso: Unexpected\n"
	if err := os.WriteFile(filepath.Join(dir, "dump.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	if err = (&Process{Program: "/bin/true", Cgroup: -1}).Run(Dump, o, never); err == nil || err.Error() != "criu died: vdso: Unexpected (dump.log)" {
		t.Errorf("one with a log: %v", err)
	}
	// What a link in its place leads to is not told (CVE-2026-53489).
	if err := os.Rename(filepath.Join(dir, "dump.log"), filepath.Join(dir, "secret")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("secret", filepath.Join(dir, "dump.log")); err != nil {
		t.Fatal(err)
	}
	if err = (&Process{Program: "/bin/true", Cgroup: -1}).Run(Dump, o, never); err == nil || err.Error() != "criu died" {
		t.Errorf("one with a link for a log: %v", err)
	}
}
