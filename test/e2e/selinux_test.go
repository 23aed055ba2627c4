package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// contexts are what inspect shows of a container's, checked against its process's.
func (c *cli) contexts(name string) (process, mount string) {
	c.t.Helper()
	process, mount, _ = strings.Cut(c.ok("inspect", "-f", "{{.ProcessLabel}} {{.MountLabel}}", name), " ")
	if got := c.ok("exec", name, "cat", "/proc/1/attr/current"); process != "" && strings.TrimRight(got, "\x00") != process {
		c.t.Errorf("context of %s: %q, inspect shows %q", name, got, process)
	}
	return process, mount
}

// fileContext is the SELinux context of a file, or of a link itself.
func fileContext(t *testing.T, name string) string {
	t.Helper()
	buf := make([]byte, 200)
	n, err := unix.Lgetxattr(name, "security.selinux", buf)
	if err != nil {
		t.Fatalf("context of %s: %v", name, err)
	}
	return strings.TrimRight(string(buf[:n]), "\x00")
}

// TestSELinux: with --selinux-enabled, every container has a context of its own.
func TestSELinux(t *testing.T) {
	testenv.Need(t, testenv.SELinux)
	e := own(t, engineOptions{args: []string{"--selinux-enabled"}})
	c := one(t, e)
	matches(t, "info", c.ok("info", "-f", "{{json .SecurityOptions}}"), `"name=selinux"`)

	t.Run("contexts", func(t *testing.T) { seLinuxContexts(t, one(t, e)) })
	t.Run("volumes", func(t *testing.T) { seLinuxVolumes(t, one(t, e)) })

	ctr := c.background()
	process, _ := c.contexts(ctr)
	c.ok("stop", "-t", "0", ctr)
	if err := e.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	c.ok("start", ctr)
	if again, _ := c.contexts(ctr); again != process {
		t.Errorf("context %s, before the daemon ended %s", again, process)
	}
	c.ok("rm", "-f", ctr)
}

func seLinuxContexts(t *testing.T, c *cli) {
	const level = `(s0:c\d+,c\d+)$`
	one := c.background("--health-cmd", "cat /proc/self/attr/current", "--health-interval", "200ms")
	process, mount := c.contexts(one)
	matches(t, "process", process, `^system_u:system_r:container_t:`+level)
	matches(t, "files", mount, `^system_u:object_r:container_file_t:`+level)
	own := regexp.MustCompile(level).FindString(process)
	if !strings.HasSuffix(mount, own) {
		t.Errorf("levels of %s and %s", process, mount)
	}
	equal(t, "exec", strings.TrimRight(c.ok("exec", one, "cat", "/proc/self/attr/current"), "\x00"), process)
	equal(t, "health check", strings.TrimRight(c.health(one, "healthy").State.Health.Log[0].Output, "\x00"), process)
	c.ok("exec", one, "sh", "-c", "echo x >/file && cat /file /etc/hosts /etc/resolv.conf >/dev/null && echo y >/dev/shm/file && ls /dev/mqueue")
	c.ok("cp", one+":/file", filepath.Join(t.TempDir(), "file"))
	equal(t, "shared IPC", first(c.contexts(c.background("--ipc", "container:"+c.background("--ipc", "shareable", "--security-opt", "label=level:s0:c7,c8")))), "system_u:system_r:container_t:s0:c7,c8")

	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, `^system_u:system_r:container_t:` + level},
		{[]string{"--pid", "container:" + one}, "^" + process + "$"},
		{[]string{"--security-opt", "label=type:other_t"}, `^system_u:system_r:other_t:` + level},
		{[]string{"--security-opt", "label=type:other_t", "--security-opt", "label=level:s0:c5,c6", "--security-opt", "no-new-privileges"}, `^system_u:system_r:other_t:s0:c5,c6$`},
		{[]string{"--security-opt", "label=disable"}, "^$"},
		{[]string{"--privileged"}, "^$"},
	} {
		got, _ := c.contexts(c.background(tt.flags...))
		matches(t, strings.Join(tt.flags, " "), got, tt.want)
		if len(tt.flags) == 0 && got == process {
			t.Errorf("two containers with the context %s", got)
		}
	}
	matches(t, "bad option", c.fails(125, "run", "--rm", "--security-opt", "label=colour:red", "busybox", "true"), `bad label option "colour:red"`)
}

func first(process, _ string) string { return process }

func seLinuxVolumes(t *testing.T, c *cli) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for name, body := range map[string]string{secret: "secret", filepath.Join(dir, "file"): "shared\n"} {
		if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	before := fileContext(t, secret)
	read := func(mode string, code int) {
		t.Helper()
		if r := c.do("run", "--rm", "-v", dir+":/data"+mode, "busybox", "cat", "/data/file"); r.code != code {
			t.Errorf("a bind mount with mode %q: exit code %d, %q, %q", mode, r.code, r.stdout, r.stderr)
		}
	}
	read("", 1)
	read(":z", 0)
	for _, name := range []string{"", "file", "link"} {
		equal(t, "context of "+name, fileContext(t, filepath.Join(dir, name)), "system_u:object_r:container_file_t:s0")
	}
	read("", 0) // now it is for all
	ctr := c.background("-v", dir+":/data:ro,Z")
	_, mount := c.contexts(ctr)
	equal(t, "file of one container", fileContext(t, filepath.Join(dir, "file")), mount)
	c.ok("exec", ctr, "cat", "/data/file")
	read("", 1)
	equal(t, "what a link leads to", fileContext(t, secret), before)

	volume := c.volume()
	c.ok("run", "--rm", "-v", volume+":/data", "busybox", "sh", "-c", "echo x >/data/file")
	equal(t, "volume", c.ok("run", "--rm", "-v", volume+":/data", "busybox", "cat", "/data/file"), "x")
	matches(t, "the machine's directories", c.fails(125, "run", "--rm", "-v", "/etc:/data:Z", "busybox", "true"),
		`error setting label on mount source '/etc': SELinux relabeling of /etc is not allowed`)
}
