package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// status reads the interesting lines of /proc/self/status.
const status = `grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status`

func fields(out string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = strings.Join(strings.Fields(v), " ")
		}
	}
	return m
}

func require(t *testing.T, got map[string]string, want ...string) {
	t.Helper()
	for i := 0; i < len(want); i += 2 {
		if got[want[i]] != want[i+1] {
			t.Errorf("%s: got %q, want %q", want[i], got[want[i]], want[i+1])
		}
	}
}

// The capability numbers of linux/capability.h: CHOWN 0, KILL 5, SETGID 6, SETUID 7, NET_RAW 13, MKNOD 27.
const (
	none     = "0000000000000000"
	testCaps = "00000000080020e1"
)

func TestCapabilities(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*specs.Spec)
		want []string
	}{
		"root": {nil, []string{"CapInh", none, "CapPrm", testCaps, "CapEff", testCaps, "CapBnd", testCaps, "CapAmb", none}},
		"user": {func(s *specs.Spec) { s.Process.User.UID, s.Process.User.GID = 1000, 1000 },
			[]string{"CapInh", none, "CapPrm", none, "CapEff", none, "CapBnd", testCaps, "CapAmb", none, "Uid", "1000 1000 1000 1000"}},
		"none": {func(s *specs.Spec) { s.Process.Capabilities = nil },
			[]string{"CapInh", none, "CapPrm", none, "CapEff", none, "CapBnd", none, "CapAmb", none}},
		"ambient for a user": {func(s *specs.Spec) {
			s.Process.User.UID = 1000
			s.Process.Capabilities.Inheritable = []string{"CAP_KILL"}
			s.Process.Capabilities.Ambient = []string{"CAP_KILL", "CAP_CHOWN"}
		}, []string{"CapInh", "0000000000000020", "CapPrm", "0000000000000020", "CapEff", "0000000000000020", "CapAmb", "0000000000000020"}},
		"unknown names": {func(s *specs.Spec) {
			s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_OF_TOMORROW")
		},
			[]string{"CapBnd", testCaps}},
		"no new privileges": {func(s *specs.Spec) { s.Process.NoNewPrivileges = true },
			[]string{"CapEff", testCaps, "NoNewPrivs", "1"}},
	} {
		t.Run(name, func(t *testing.T) { require(t, fields(run(t, status, tc.edit).out), tc.want...) })
	}
}

func TestExecCapabilities(t *testing.T) {
	c := background(t, func(s *specs.Spec) { s.Process.Capabilities.Inheritable = []string{"CAP_CHOWN"} })
	p := newProcess("sh", "-c", status)
	p.Capabilities = nil // the container's, but nothing inheritable (CVE-2022-29162)
	res, err := execIn(t, c, p)
	if err != nil {
		t.Fatal(err)
	}
	require(t, fields(res.out), "CapInh", none, "CapPrm", testCaps, "CapEff", testCaps, "CapBnd", testCaps, "CapAmb", none)
	p = newProcess("sh", "-c", status)
	p.Capabilities = &specs.LinuxCapabilities{}
	p.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{10, 20}}
	if res, err = execIn(t, c, p); err != nil {
		t.Fatal(err)
	}
	require(t, fields(res.out), "CapPrm", none, "CapBnd", none, "Uid", "1000 1000 1000 1000", "Groups", "10 20")
}

func TestUser(t *testing.T) {
	umask := uint32(0o077)
	res := run(t, "id; umask; echo $HOME; touch /tmp/x; stat -c %u:%g:%a /tmp/x; echo ok > /dev/stdout", func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{10}, Umask: &umask}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}})
	})
	want := "uid=1000(bob) gid=1000(bob) groups=10(wheel)\n0077\n/home/bob\n1000:1000:600\nok\n"
	if res.out != want {
		t.Errorf("got %q %q, want %q", res.out, res.err, want)
	}
	if res := run(t, "umask; echo $HOME", func(s *specs.Spec) { s.Process.User.UID = 4711 }); res.out != "0022\n/\n" {
		t.Errorf("unknown user: got %q", res.out)
	}
	if res := run(t, "echo $HOME", func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "HOME=/h") }); res.out != "/h\n" {
		t.Errorf("given home: got %q", res.out)
	}
}

func TestNamedUser(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	for user, want := range map[string]string{
		// The primary group is among the supplementary ones (CVE-2022-36109).
		"bob":        "uid=1000(bob) gid=1000(bob) groups=10(wheel),1000(bob)\n/home/bob\n",
		"1000:wheel": "uid=1000(bob) gid=10(wheel) groups=10(wheel)\n/home/bob\n",
		"":           "uid=0(root) gid=0(root) groups=0(root)\n/root\n",
		"77":         "uid=77 gid=0(root) groups=0(root)\n/\n",
	} {
		res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: newSpec("sh", "-c", "id; echo $HOME"), User: &NamedUser{User: user}})
		if err != nil || res.out != want {
			t.Errorf("%q: got %q, %v; want %q", user, res.out, err, want)
		}
	}
	for _, user := range []string{"nobody", "bob:nogroup", "4294967295", "4294967296", "-1"} {
		_, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: newSpec("true"), User: &NamedUser{User: user}})
		if _, ok := errors.AsType[*UserError](err); !ok {
			t.Errorf("%q: got %v, want a UserError", user, err)
		}
	}
}

func TestHostileUserFiles(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	passwd := filepath.Join(bundle, "rootfs/etc/passwd")
	for name, make := range map[string]func() error{
		"a pipe":           func() error { return unix.Mkfifo(passwd, 0o644) },
		"an endless line":  func() error { return os.WriteFile(passwd, []byte(strings.Repeat("x", 1<<20)), 0o644) },
		"a link to a loop": func() error { return os.Symlink("passwd", passwd) },
		"nothing":          func() error { return nil },
	} {
		if err := os.Remove(passwd); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: newSpec("sh", "-c", "echo $HOME")}); err != nil || res.out != "/\n" {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

// TestManyGroups has an image put its user into all groups that a process can be
// in, and into more.
func TestManyGroups(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("sh", "-c", "grep Groups: /proc/self/status | wc -w")
	const most = 65536
	var list strings.Builder
	add := func(from, to int) {
		for gid := from; gid <= to; gid++ {
			fmt.Fprintf(&list, "g:x:%d:bob\n", gid)
		}
		if err := os.WriteFile(filepath.Join(bundle, "rootfs/etc/group"), []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	add(1, most) // 1000, his own group, is one of them
	add(1, 10)
	o := CreateOptions{Bundle: bundle, Spec: spec, User: &NamedUser{User: "bob"}}
	if res, err := runSpec(t, r, o); err != nil || res.out != fmt.Sprintln(most+1) {
		t.Errorf("all groups: %+v, %v", res, err)
	}
	add(most+1, 3*most)
	if _, err := runSpec(t, r, o); !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "65536 groups") {
		t.Errorf("more than all: %v", err)
	}
}

func TestSeccomp(t *testing.T) {
	eacces := uint(unix.EACCES)
	filter := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat", "setresuid", "setgroups"}, Action: specs.ActErrno, ErrnoRet: &eacces}},
	}
	for _, noNewPrivs := range []bool{false, true} {
		edit := func(s *specs.Spec) {
			s.Linux.Seccomp, s.Process.NoNewPrivileges, s.Process.User.UID = filter, noNewPrivs, 1000
		}
		res := run(t, status+"; mkdir /tmp/x", edit)
		require(t, fields(res.out), "Seccomp", "2", "NoNewPrivs", map[bool]string{true: "1", false: "0"}[noNewPrivs], "CapEff", none)
		if !strings.Contains(res.err, "Permission denied") {
			t.Errorf("mkdir: got %q", res.err)
		}
		c := background(t, edit)
		p := newProcess("sh", "-c", status+"; mkdir /tmp/x")
		p.NoNewPrivileges = noNewPrivs
		res, err := execIn(t, c, p)
		if err != nil {
			t.Fatal(err)
		}
		require(t, fields(res.out), "Seccomp", "2")
		if !strings.Contains(res.err, "Permission denied") {
			t.Errorf("mkdir in exec: got %q", res.err)
		}
	}
}

func TestMaskedAndReadOnlyPaths(t *testing.T) {
	res := run(t, `cat /proc/keys | wc -c; ls /sys/firmware | wc -l; stat -c '%F %t:%T' /proc/keys
		echo 1 > /proc/sys/kernel/panic; echo b > /proc/sysrq-trigger; echo x > /proc/keys && echo swallowed; touch /sys/firmware/x`, nil)
	if res.out != "0\n0\ncharacter special file 1:3\nswallowed\n" || strings.Count(res.err, "Read-only file system") < 2 {
		t.Errorf("got %q %q", res.out, res.err)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	res := run(t, "touch /x; touch /dev/x && echo dev; touch /run/x; touch /made/x && echo tmpfs", func(s *specs.Spec) {
		s.Root.Readonly = true
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro"}},
			specs.Mount{Destination: "/run/deep", Type: "tmpfs", Source: "tmpfs"}, // in the read-only one
			specs.Mount{Destination: "/made", Type: "tmpfs", Source: "tmpfs"})
	})
	if res.out != "dev\ntmpfs\n" || strings.Count(res.err, "Read-only file system") != 2 {
		t.Errorf("got %q %q", res.out, res.err)
	}
}

func TestDevices(t *testing.T) {
	res := run(t, `for d in null zero full random urandom tty; do stat -c '%n %F %a' /dev/$d; done
		head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo ok; echo x > /dev/full
		mknod /tmp/kmsg c 1 11 && echo made; cat /tmp/kmsg; for l in fd ptmx stdin; do readlink /dev/$l; done`, nil)
	for _, want := range []string{
		"/dev/null character special file 666\n", "/dev/tty character special file 666\n", "\n3\nok\nmade\n", "/proc/self/fd\npts/ptmx\n/proc/self/fd/0\n",
	} {
		if !strings.Contains(res.out, want) {
			t.Errorf("%q is missing in %q", want, res.out)
		}
	}
	if !strings.Contains(res.err, "No space left on device") || !strings.Contains(res.err, "/tmp/kmsg': Operation not permitted") {
		t.Errorf("got %q", res.err)
	}
	// A device may be mounted in place of another one.
	res = run(t, "stat -c '%t:%T' /dev/random", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/random", Type: "bind", Source: "/dev/urandom", Options: []string{"bind"}})
	})
	if res.out != "1:9\n" {
		t.Errorf("got %+v", res)
	}
	mode, uid := os.FileMode(0o640), uint32(7)
	number := func(n int64) *int64 { return &n }
	res = run(t, "stat -c '%F %a %u %t:%T' /dev/sub/kmsg; head -c 0 /dev/sub/kmsg && echo readable; echo > /dev/sub/kmsg", func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/sub/kmsg", Type: "c", Major: 1, Minor: 11, FileMode: &mode, UID: &uid}}
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: number(1), Minor: number(11), Access: "r"})
		s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_DAC_OVERRIDE", "CAP_SYSLOG")
		s.Process.Capabilities.Effective, s.Process.Capabilities.Permitted = s.Process.Capabilities.Bounding, s.Process.Capabilities.Bounding
	})
	if res.out != "character special file 640 7 1:b\nreadable\n" || !strings.Contains(res.err, "Operation not permitted") {
		t.Errorf("got %q %q", res.out, res.err)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	secret, err := os.Open("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close() //nolint:errcheck // read only
	list := `for f in /proc/self/fd/*; do readlink $f; done | grep -v '^pipe:\|^/dev/null$\|^/proc'`
	if res := run(t, list, nil); res.out != "" {
		t.Errorf("run leaks %q", res.out)
	}
	c := background(t, nil)
	if res, err := execIn(t, c, newProcess("sh", "-c", list)); err != nil || res.out != "" {
		t.Errorf("exec leaks %q, %v", res.out, err)
	}
	if res, err := execIn(t, c, newProcess("sh", "-c", "ls /proc/1/fd | wc -l")); err != nil || res.out != "3\n" {
		t.Errorf("init has %q, %v", res.out, err)
	}
}

func TestPreservedDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // read only
	res, err := runSpec(t, newRuntime(t), CreateOptions{
		Bundle: newBundle(t), Spec: newSpec("sh", "-c", "ls /proc/$$/fd; echo through >&4"), PreserveFDs: []*os.File{r, w},
	})
	if err = errorsJoin(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := r.Read(buf)
	if err != nil || string(buf[:n]) != "through\n" || res.out != "0\n1\n2\n3\n4\n" {
		t.Errorf("got %q, %v; %q", buf[:n], err, res.out)
	}
}

// TestCwdOfLeakedDescriptor is CVE-2024-21626: a working directory that goes
// through a descriptor of the runtime out of the container.
func TestCwdOfLeakedDescriptor(t *testing.T) {
	host, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // read only
	r, bundle := newRuntime(t), newBundle(t)
	c := background(t, nil)
	for n := 3; n < 24; n++ {
		for _, dir := range []string{fmt.Sprintf("/proc/self/fd/%d", n), fmt.Sprintf("/proc/self/fd/%d/../..", n)} {
			for _, preserve := range [][]*os.File{nil, {host}} {
				spec := newSpec("sh", "-c", "ls; ls etc/shadow ../../../etc/shadow")
				spec.Process.Cwd = dir
				if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec, PreserveFDs: preserve}); err == nil && strings.Contains(res.out, "shadow") {
					t.Fatalf("run: escaped by %s: %s", dir, res.out)
				}
			}
			p := newProcess("sh", "-c", "ls; ls etc/shadow ../../../etc/shadow")
			p.Cwd = dir
			if res, err := execIn(t, c, p); err == nil && strings.Contains(res.out, "shadow") {
				t.Fatalf("exec: escaped by %s: %s", dir, res.out)
			}
		}
	}
}

// TestSealedSelf is CVE-2019-5736: a container overwriting the runtime.
func TestSealedSelf(t *testing.T) {
	newRuntime(t)
	f, err := fd.SealedSelf(false)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0); err == nil {
		_, werr := w.Write([]byte("#!"))
		_ = w.Close()
		if werr == nil {
			t.Fatal("the sealed program can be written")
		}
	}
	// The container runs the runtime's own program and opens it for writing.
	c := background(t, nil)
	res, err := execIn(t, c, newProcess("/proc/self/exe", "-test.run=^$"))
	if err == nil && res.code == 0 && !strings.Contains(res.out, "PASS") {
		t.Errorf("got %+v", res)
	}
	res = run(t, `cat /proc/self/exe > /dev/null; echo x >> /proc/1/exe`, nil)
	if res.code == 0 {
		t.Errorf("got %+v", res)
	}
}

func TestSessionKeyring(t *testing.T) {
	// /proc/keys is masked by default; shown here, it lists what the process may
	// see: its own session keyring, and not that of whoever made the container.
	show := func(noNew bool) string {
		spec := newSpec("cat", "/proc/keys")
		spec.Linux.MaskedPaths = nil
		res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: newBundle(t), Spec: spec, NoNewKeyring: noNew})
		if err != nil {
			t.Fatal(err)
		}
		return res.out
	}
	if own := show(false); !strings.Contains(own, "_ses.run-") {
		t.Errorf("no keyring of its own: %q", own)
	}
}
