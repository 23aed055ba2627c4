package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestSystemCallsDenied: what the default seccomp profile and capabilities
// forbid, tried as root of an ordinary container.
func TestSystemCallsDenied(t *testing.T) {
	sysrq := "EROFS"
	if _, err := os.Stat("/proc/sysrq-trigger"); err != nil {
		sysrq = "ENOENT" // a kernel without it
	}
	each(t, func(t *testing.T, c *cli) {
		got := c.ok("run", "--rm", "probe", "probe", "try")
		equal(t, "outcomes", got, strings.TrimSpace(`
unshare-user EPERM
unshare-net EPERM
keyctl EPERM
add_key EPERM
bpf EPERM
perf_event_open EPERM
userfaultfd EPERM
reboot EPERM
kexec_load EPERM
open_by_handle_at EPERM
init_module EPERM
swapon EPERM
settimeofday EPERM
mount EPERM
umount EPERM
sethostname EPERM
mknod-disk allowed
read-disk EPERM
write-sysrq `+sysrq+`
write-sys EROFS`))
	})
}

// TestSeccompUnconfined shows that it was the profile: without it the calls
// that need no capability go through.
func TestSeccompUnconfined(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		got := c.ok("run", "--rm", "--security-opt", "seccomp=unconfined", "probe", "probe", "try")
		matches(t, "keyctl", got, `(?m)^keyctl allowed$`)
		equal(t, "mode", c.ok("run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "grep", "^Seccomp:", "/proc/self/status"), "Seccomp:\t0")
		equal(t, "default mode", c.ok("run", "--rm", "busybox", "grep", "^Seccomp:", "/proc/self/status"), "Seccomp:\t2")
	})
}

// TestCapabilities: Docker's fourteen for root, none in the inheritable set
// (CVE-2022-24769), none at all for other users.
func TestCapabilities(t *testing.T) {
	const defaults = "00000000a80425fb"
	each(t, func(t *testing.T, c *cli) {
		status := func(flags ...string) string {
			args := append(append([]string{"run", "--rm"}, flags...), "busybox", "grep", "-E", "^Cap(Inh|Prm|Eff|Bnd)", "/proc/self/status")
			return strings.ReplaceAll(c.ok(args...), "\t", "")
		}
		none := "0000000000000000"
		equal(t, "root", status(), "CapInh:"+none+"\nCapPrm:"+defaults+"\nCapEff:"+defaults+"\nCapBnd:"+defaults)
		equal(t, "user", status("-u", "1000"), "CapInh:"+none+"\nCapPrm:"+none+"\nCapEff:"+none+"\nCapBnd:"+defaults)
		equal(t, "none", status("--cap-drop", "ALL"), "CapInh:"+none+"\nCapPrm:"+none+"\nCapEff:"+none+"\nCapBnd:"+none)
		one := "0000000000000001" // CAP_CHOWN
		equal(t, "one", status("--cap-drop", "ALL", "--cap-add", "CHOWN"), "CapInh:"+none+"\nCapPrm:"+one+"\nCapEff:"+one+"\nCapBnd:"+one)
		name := c.background()
		equal(t, "exec", strings.ReplaceAll(c.ok("exec", name, "grep", "-E", "^Cap(Inh|Prm|Eff)", "/proc/self/status"), "\t", ""), "CapInh:"+none+"\nCapPrm:"+defaults+"\nCapEff:"+defaults)
	})
}

func TestMaskedPaths(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		got := c.ok("run", "--rm", "busybox", "sh", "-c", `
			for f in kcore keys timer_list sched_debug latency_stats timer_stats; do
				[ -e /proc/$f ] && [ -n "$(head -c 1 /proc/$f 2>/dev/null)" ] && echo readable /proc/$f
			done
			for d in /proc/acpi /proc/scsi /sys/firmware; do
				[ -d $d ] && [ -n "$(ls $d)" ] && echo listed $d
			done
			for d in bus fs irq sys; do
				[ -d /proc/$d ] && ! grep -q " /proc/$d proc ro," /proc/mounts && echo writable /proc/$d
			done
			grep -q " /sys sysfs ro," /proc/mounts || echo writable /sys
			echo done`)
		equal(t, "findings", got, "done")
	})
}

func TestDevices(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "nodes", c.ok("run", "--rm", "busybox", "ls", "/dev"),
			"core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero")
		equal(t, "null and zero work", c.ok("run", "--rm", "busybox", "sh", "-c", "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c"), "4\n4")
		equal(t, "full", c.ok("run", "--rm", "busybox", "sh", "-c", "echo x 2>/dev/null >/dev/full || echo full"), "full")
		equal(t, "added device", c.ok("run", "--rm", "--device", "/dev/zero:/dev/mine", "busybox", "sh", "-c", "head -c 3 /dev/mine | wc -c"), "3")
		equal(t, "read-only device", c.ok("run", "--rm", "--device", "/dev/kmsg:/dev/mine:r", "busybox", "sh", "-c", "(echo x >/dev/mine) 2>/dev/null || echo denied"), "denied")
	})
}

// TestNoLeakedDescriptors: nothing of the engine's is open in a container
// (CVE-2024-21626), nor in an exec.
func TestNoLeakedDescriptors(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "run", c.ok("run", "--rm", "probe", "probe", "fds"), "")
		equal(t, "run on a terminal", c.ok("run", "--rm", "-t", "probe", "probe", "fds"), "")
		name := c.container()
		c.ok("run", "-d", "--name", name, "probe", "sleep", "600")
		equal(t, "exec", c.ok("exec", name, "probe", "fds"), "")
		equal(t, "exec on a terminal", c.ok("exec", "-t", name, "probe", "fds"), "")
	})
}

// TestWorkingDirectoryLeak is CVE-2024-21626's attack: a working directory
// below a descriptor of the runtime.
func TestWorkingDirectoryLeak(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		for _, fd := range []string{"3", "5", "7", "8", "9", "11"} {
			r := c.do("run", "--rm", "-w", "/proc/self/fd/"+fd, "busybox", "sh", "-c", "ls ../../../../../../../.. 2>/dev/null; pwd")
			if strings.Contains(r.stdout, "sbin") || strings.Contains(r.stdout, "boot") {
				t.Errorf("descriptor %s leads to the host: %q", fd, r.stdout)
			}
		}
	})
}

func TestNamespacesOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		for _, ns := range []string{"mnt", "pid", "net", "ipc", "uts"} {
			host, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil {
				t.Fatal(err)
			}
			if in := c.ok("exec", name, "readlink", "/proc/1/ns/"+ns); in == host {
				t.Errorf("the %s namespace is the host's: %s", ns, in)
			}
		}
		equal(t, "processes", c.ok("run", "--rm", "busybox", "sh", "-c", "set -- /proc/[0-9]*; echo $#"), "1")
		equal(t, "host pid namespace", c.ok("run", "--rm", "--pid", "host", "busybox", "readlink", "/proc/self/ns/pid"), readlink(t, "/proc/self/ns/pid"))
	})
}

func readlink(t *testing.T, name string) string {
	t.Helper()
	s, err := os.Readlink(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHostPathsStayHidden: neither the data root nor the socket shows inside.
func TestHostPathsStayHidden(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		mounts := c.ok("run", "--rm", "busybox", "cat", "/proc/self/mountinfo")
		for line := range strings.Lines(mounts) {
			at := strings.Fields(line)[4]
			if strings.Contains(at, "e2e-") || strings.HasSuffix(at, ".sock") {
				t.Errorf("mounted inside: %s", line)
			}
		}
		equal(t, "old root", c.ok("run", "--rm", "busybox", "sh", "-c", "ls -d /.pivot* /oldroot 2>/dev/null; echo end"), "end")
	})
}

func TestDataRootIsPrivate(t *testing.T) {
	c := one(t, world.engine)
	root := c.ok("info", "--format", "{{.DockerRootDir}}")
	st, err := os.Stat(root)
	if err != nil {
		t.Fatal(err)
	}
	// CVE-2021-41091: others must not get into the containers' files.
	if perm := st.Mode().Perm(); perm&0o007&^0o001 != 0 {
		t.Errorf("%s has mode %o", root, perm)
	}
}

// TestLabelsAreText: other engines have taken log addresses and paths from
// labels of images in names that they reserve (CVE-2026-53488).
func TestLabelsAreText(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		proof := filepath.Join(t.TempDir(), "proof")
		box, run, image := c.container(), c.container(), c.image()
		args := []string{"create", "--name", box}
		for _, key := range []string{"containerd.io/restart.loguri", "io.containerd.image.config.stop-signal", "nerdctl/log-uri", "gantry.log", "io.kubernetes.cri.log"} {
			args = append(args, "--label", key+"=binary:///bin/touch?"+proof)
		}
		c.ok(append(args, "busybox", "echo", "hello")...)
		c.ok("commit", box, image)
		equal(t, "output", c.ok("run", "--name", run, image, "echo", "hello"), "hello")
		matches(t, "label", c.ok("inspect", "-f", `{{index .Config.Labels "containerd.io/restart.loguri"}}`, run), `^binary:///bin/touch`)
		matches(t, "log", c.ok("inspect", "-f", "{{.LogPath}}", run), `/containers/[0-9a-f]{64}/`)
		equal(t, "logs", c.ok("logs", run), "hello")
		if _, err := os.Stat(proof); err == nil {
			t.Error("the label was executed")
		}
	})
}

// TestHostsFileGrown: a container that makes its /etc/hosts a terabyte does no harm
// to the engine when others join its network.
func TestHostsFileGrown(t *testing.T) {
	needEngine(t, gantryEngine)
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		c.ok("exec", name, "dd", "of=/etc/hosts", "bs=1M", "count=0", "seek=1048576")
		matches(t, "join", c.fails(125, "run", "--rm", "--network", "container:"+name, "busybox", "true"), "share hosts of container [0-9a-f]{64}: the container has made the file larger than 1 MiB")
		c.ok("restart", "-t", "0", name)
		c.ok("run", "--rm", "--network", "container:"+name, "busybox", "true")
	})
}

// TestMtab: old programs find the mounts, and what is mounted or committed is not
// touched by that.
func TestMtab(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		equal(t, "mtab", c.ok("run", "--name", name, "busybox", "readlink", "/etc/mtab"), "/proc/mounts")
		equal(t, "changes", c.ok("diff", name), "")
		image := testenv.Unique("mtab")
		c.ok("commit", name, image)
		t.Cleanup(func() { c.do("rmi", "-f", image) })
		equal(t, "mtab of the image's", c.ok("run", "--rm", "--read-only", image, "readlink", "/etc/mtab"), "/proc/mounts")
		own := c.container()
		c.ok("run", "--name", own, "busybox", "sh", "-c", "rm /etc/mtab; echo mine >/etc/mtab")
		matches(t, "own changes", c.ok("diff", own), `(?m)^[AC] /etc/mtab$`)
		c.ok("commit", own, image)
		if c.e.kind != dockerEngine { // which hides an image's own
			equal(t, "own", c.ok("run", "--rm", image, "cat", "/etc/mtab"), "mine")
		}
		volume := testenv.Unique("etc")
		c.ok("volume", "create", volume)
		t.Cleanup(func() { c.do("volume", "rm", "-f", volume) })
		equal(t, "volume", c.ok("run", "--rm", "--mount", "src="+volume+",dst=/etc,volume-nocopy", "busybox", "sh", "-c", "ls -d /etc/mtab 2>/dev/null; true"), "")
	})
}
