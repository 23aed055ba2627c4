package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// The ids that containers of remapped daemons have: neither is the other.
const (
	remapUID = 100000
	remapGID = 300000
)

// remapped starts a daemon whose containers are in user namespaces. The machine's
// files with users need not know of it.
func remapped(t *testing.T) *engine {
	t.Helper()
	needEngine(t, gantryEngine) // dockerd keeps the container's ids in its files
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.File("/etc/subuid"), testenv.File("/etc/subgid"), mappedDisk)
	etc := t.TempDir()
	for name, line := range map[string]string{
		"passwd": "dockremap:x:989:989::/:/bin/false", "group": "dockremap:x:989:",
		"subuid": fmt.Sprintf("dockremap:%d:65536", remapUID), "subgid": fmt.Sprintf("dockremap:%d:65536", remapGID),
	} {
		old, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, name), []byte(string(old)+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return own(t, engineOptions{args: []string{"--userns-remap", "default"}, etc: etc})
}

// mappedDisk is what the daemon's directory needs if it is in memory.
var mappedDisk = testenv.Linux(6, 3, "mapped ids of tmpfs")

// clients runs fn for every client with one daemon.
func clients(t *testing.T, e *engine, fn func(t *testing.T, c *cli)) {
	t.Helper()
	for _, cl := range world.clients {
		t.Run(cl.name, func(t *testing.T) { fn(t, bind(t, cl, e)) })
	}
}

// ownerOn tells whom a file belongs to on the machine.
func ownerOn(t *testing.T, file string) string {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// owners lists the owners in an archive by name.
func owners(t *testing.T, data string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(strings.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Clean(h.Name)] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
	}
}

func TestUserNamespaces(t *testing.T) {
	t.Parallel()
	e := remapped(t)
	clients(t, e, func(t *testing.T, c *cli) {
		for name, fn := range map[string]func(t *testing.T, c *cli){
			"processes": usernsProcesses, "terminals": usernsTerminals, "files": usernsFiles, "copies": usernsCopies,
			"images": usernsImages, "mounts": usernsMounts, "namespaces": usernsShared, "refusals": usernsRefusals, "host": usernsHost,
		} {
			t.Run(name, func(t *testing.T) { fn(t, bind(t, c.client, c.e)) })
		}
	})
}

// usernsProcesses: root is nobody on the machine, and all of a container's
// processes are below it.
func usernsProcesses(t *testing.T, c *cli) {
	matches(t, "security options", c.ok("info", "-f", "{{.SecurityOptions}}"), `name=userns`)
	name := c.background("--health-cmd", "test $(id -u) = 0", "--health-interval", "100ms")
	pid := c.ok("inspect", "-f", "{{.State.Pid}}", name)
	if got, want := ownerOn(t, "/proc/"+pid+"/task"), fmt.Sprintf("%d:%d", remapUID, remapGID); got != want {
		t.Errorf("the process belongs to %s, want %s", got, want)
	}
	equal(t, "root", c.ok("exec", name, "id", "-u"), "0")
	equal(t, "mapping", strings.Join(strings.Fields(c.ok("exec", name, "cat", "/proc/self/uid_map", "/proc/self/gid_map")), " "),
		fmt.Sprintf("0 %d 65536 0 %d 65536", remapUID, remapGID))
	equal(t, "exec by number", c.ok("exec", "-u", "1000:50", name, "sh", "-c", "id -u; id -g"), "1000\n50")
	equal(t, "exec in its namespace", c.ok("exec", name, "readlink", "/proc/self/ns/user"), c.ok("exec", name, "readlink", "/proc/1/ns/user"))
	matches(t, "top", c.ok("top", name, "-eo", "uid,pid,cmd"), fmt.Sprintf(`(?m)^\s*%d\s+\d+\s+sleep 600`, remapUID))
	c.until("health", func(s string) bool { return strings.TrimSpace(s) == "healthy" }, "inspect", "-f", "{{.State.Health.Status}}", name)
	matches(t, "stats", c.ok("stats", "--no-stream", "--format", "{{.PIDs}}", name), `^\d`)
	c.ok("pause", name)
	c.ok("unpause", name)
	c.ok("kill", name)
	equal(t, "killed", c.ok("wait", name), "137")
	c.ok("start", name)
	c.ok("restart", "-t", "0", name)
	equal(t, "again", c.ok("exec", name, "id", "-u"), "0")
	equal(t, "streams", c.ok("run", "--rm", "busybox", "sh", "-c", "echo out > /dev/stdout"), "out")
	equal(t, "streams of a user", c.ok("run", "--rm", "-u", "1000", "busybox", "sh", "-c", "echo out > /proc/self/fd/1"), "out")
	equal(t, "init", c.ok("run", "--rm", "--init", "busybox", "sh", "-c", "readlink -f /proc/1/exe; id -u"), "/sbin/docker-init\n0")
	equal(t, "limits", c.ok("run", "--rm", "--ulimit", "nofile=100:200", "-m", "30m", "--pids-limit", "20", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"), "100\n200")
	equal(t, "sysctls", c.ok("run", "--rm", "--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.shmmax=12345678", "busybox",
		"cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax"), "0\n12345678")
	matches(t, "raw sockets", c.ok("run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", outsideAddr), "1 packets received")
	equal(t, "network administration", c.ok("run", "--rm", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "ip link set eth0 mtu 1400 && cat /sys/class/net/eth0/mtu"), "1400")
	equal(t, "low ports", c.ok("run", "--rm", "-u", "1000", "busybox", "sh", "-c", "nc -l -p 80 & sleep 0.2; kill $! && echo listened"), "listened")
}

func usernsTerminals(t *testing.T, c *cli) {
	got := c.ok("run", "--rm", "-t", "busybox", "sh", "-c", "tty; stat -c %u:%g /dev/pts/0 /dev/console; echo console > /dev/console; echo tty > /dev/tty")
	equal(t, "terminal", strings.ReplaceAll(got, "\r", ""), "/dev/pts/0\n0:5\n0:5\nconsole\ntty")
	name := c.background()
	got = c.ok("exec", "-t", "-u", "1000", name, "sh", "-c", "tty; echo again > $(tty)")
	equal(t, "of an exec", strings.ReplaceAll(got, "\r", ""), "/dev/pts/0\nagain")
}

// usernsFiles: everything in a container belongs to its users, and on disk nothing
// tells of a mapping.
func usernsFiles(t *testing.T, c *cli) {
	equal(t, "owners", c.ok("run", "--rm", "--tmpfs", "/t", "-v", "/anonymous", "busybox", "stat", "-c", "%u:%g",
		"/", "/etc", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/dev", "/dev/pts", "/dev/shm", "/t", "/anonymous"), strings.TrimSpace(strings.Repeat("0:0\n", 10)))
	equal(t, "devices", c.ok("run", "--rm", "busybox", "sh", "-c", "head -c 3 /dev/zero | wc -c; echo x > /dev/null && head -c 1 /dev/urandom | wc -c"), "3\n1")
	equal(t, "its own names", c.ok("run", "--rm", "busybox", "sh", "-c", "echo 1.2.3.4 mine >> /etc/hosts && grep -c mine$ /etc/hosts"), "1")
	matches(t, "device nodes", c.fails(1, "run", "--rm", "busybox", "mknod", "/null", "c", "1", "3"), "Operation not permitted")
	matches(t, "read-only", c.fails(1, "run", "--rm", "--read-only", "busybox", "sh", "-c", "touch /dev/shm/x && touch /etc/hosts /x"), "Read-only file system")
	equal(t, "a device under another name", c.ok("run", "--rm", "--device", "/dev/zero:/dev/nil", "busybox", "sh", "-c", "head -c 5 /dev/nil | wc -c"), "5")
	equal(t, "a working directory", c.ok("run", "--rm", "-w", "/new/dir", "busybox", "sh", "-c", "pwd; stat -c %u ."), "/new/dir\n0")
	name := c.container()
	c.ok("run", "--name", name, "busybox", "sh", "-c", "touch /file; chown 7:8 /file; mkdir /dir; chmod 4755 /bin; rm /etc/group")
	diff := c.ok("diff", name)
	for _, line := range []string{"A /file", "A /dir", "D /etc/group"} {
		if !strings.Contains("\n"+diff+"\n", "\n"+line+"\n") {
			t.Errorf("diff has no %q:\n%s", line, diff)
		}
	}
	equal(t, "a second run", c.ok("run", "--rm", "--volumes-from", name, "busybox", "true"), "")
}

// usernsCopies: archives have the container's owners, whether it runs or not.
func usernsCopies(t *testing.T, c *cli) {
	host, local := t.TempDir(), t.TempDir()
	if err := os.Chmod(host, 0o777); err != nil {
		t.Fatal(err)
	}
	plant(t, local, map[string]string{"in": "content"})
	plant(t, host, map[string]string{"foreign": "x"})
	for _, state := range []string{"running", "stopped"} {
		name := c.container()
		c.ok("run", "-d", "--name", name, "-v", "/vol", "-v", host+":/host", "busybox", "sh", "-c",
			"touch /root/made /vol/made; chown 5:6 /root/made /vol/made; touch /ready; exec sleep 600")
		c.until("files", func(string) bool { return c.do("exec", name, "test", "-e", "/ready").code == 0 }, "inspect", name)
		if state == "stopped" {
			c.ok("kill", name)
			c.ok("wait", name)
		}
		for _, dir := range []string{"/root", "/vol", "/host"} {
			c.ok("cp", filepath.Join(local, "in"), name+":"+dir+"/in")
		}
		equal(t, state+": copied to the machine's directory", ownerOn(t, filepath.Join(host, "in")), fmt.Sprintf("%d:%d", remapUID, remapGID))
		for dir, want := range map[string]map[string]string{
			"/root": {"made": "5:6", "in": "0:0"}, "/vol": {"made": "5:6", "in": "0:0"}, "/host": {"foreign": "65534:65534", "in": "0:0"},
		} {
			got := owners(t, c.ok("cp", name+":"+dir+"/.", "-"))
			for file, owner := range want {
				equal(t, state+": "+dir+"/"+file, got[file], owner)
			}
		}
		r := c.do("export", name)
		got := owners(t, r.stdout)
		equal(t, state+": export of a file", got["root/made"], "5:6")
		equal(t, state+": export of a copied file", got["root/in"], "0:0")
		equal(t, state+": export of the image's", got["bin"], "0:0")
		if state == "stopped" {
			c.ok("start", name)
		}
		equal(t, state+": seen inside", c.ok("exec", name, "stat", "-c", "%u:%g", "/root/in", "/vol/in", "/host/in"), "0:0\n0:0\n0:0")
		equal(t, state+": content", c.ok("exec", name, "cat", "/root/in"), "content")
		if err := os.Remove(filepath.Join(host, "in")); err != nil {
			t.Error(err)
		}
	}
	fresh := c.container()
	c.ok("create", "--name", fresh, "-w", "/work/dir", "busybox", "stat", "-c", "%u:%g", "/work/dir", "/work/dir/in")
	c.ok("cp", filepath.Join(local, "in"), fresh+":/work/dir")
	equal(t, "before the first start", c.ok("start", "-a", fresh), "0:0\n0:0")
}

// usernsImages: what is committed, exported and imported is the same in both kinds
// of namespaces, and an image can be mounted.
func usernsImages(t *testing.T, c *cli) {
	name, image := c.container(), testenv.Unique("img")
	c.ok("run", "--name", name, "busybox", "sh", "-c", "mkdir /data; touch /data/f; chown 5:6 /data/f; chown 70 /data")
	c.ok("commit", name, image)
	file := filepath.Join(t.TempDir(), "tar")
	c.ok("export", "-o", file, name)
	c.ok("import", file, image+":imported")
	t.Cleanup(func() { c.ok("rmi", "-f", image, image+":imported") })
	for _, ref := range []string{image, image + ":imported"} {
		for _, mode := range []string{"", "host"} {
			equal(t, ref+" "+mode, c.ok("run", "--rm", "--userns", mode, ref, "stat", "-c", "%u:%g", "/data", "/data/f", "/bin"), "70:0\n5:6\n0:0")
		}
	}
	equal(t, "a volume filled from it", c.ok("run", "--rm", "-v", "/data", image, "stat", "-c", "%u:%g", "/data", "/data/f"), "70:0\n5:6")
	if c.name != "docker20" { // which has no such mounts
		equal(t, "mounted", c.ok("run", "--rm", "--mount", "type=image,src="+image+",dst=/img", "busybox", "stat", "-c", "%u:%g", "/img/data/f"), "5:6")
		equal(t, "a part of it", c.ok("run", "--rm", "--mount", "type=image,src="+image+",dst=/img,image-subpath=data", "busybox", "stat", "-c", "%u:%g", "/img/f"), "5:6")
	}
}

// usernsMounts: volumes belong to the container's users, directories of the machine
// to those of the machine.
func usernsMounts(t *testing.T, c *cli) {
	volume := testenv.Unique("vol")
	t.Cleanup(func() { c.ok("volume", "rm", "-f", volume) })
	c.ok("run", "--rm", "-v", volume+":/vol", "busybox", "sh", "-c", "touch /vol/f && chown 5:6 /vol/f")
	for _, mode := range []string{"", "host"} {
		equal(t, "volume "+mode, c.ok("run", "--rm", "--userns", mode, "-v", volume+":/vol", "busybox", "stat", "-c", "%u:%g", "/vol", "/vol/f"), "0:0\n5:6")
	}
	donor := c.container()
	c.ok("create", "--name", donor, "-v", volume+":/vol:ro", "busybox", "true")
	equal(t, "volumes-from", c.ok("run", "--rm", "--volumes-from", donor, "busybox", "stat", "-c", "%u:%g", "/vol/f"), "5:6")

	dir := t.TempDir()
	plant(t, dir, map[string]string{"root": "x", "mine": "x", "secret": "x"})
	if err := os.Chown(filepath.Join(dir, "mine"), remapUID+9, remapGID+8); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := c.do("run", "--rm", "-v", dir+":/host", "busybox", "sh", "-c", "stat -c %u:%g /host/root /host/mine; cat /host/root; cat /host/secret; touch /host/new; chown 0 /host/root")
	equal(t, "owners", got.stdout, "65534:65534\n9:8\nx")
	for _, refusal := range []string{"can't open '/host/secret': Permission denied", "/host/new: Permission denied", "/host/root: Operation not permitted"} {
		if !strings.Contains(got.stderr, refusal) {
			t.Errorf("%q is missing:\n%s", refusal, got.stderr)
		}
	}
	made := filepath.Join(dir, "made", "deep")
	for range 2 { // made, and there
		equal(t, "a directory that -v makes", c.ok("run", "--rm", "-v", made+":/host", "busybox", "sh", "-c", "touch /host/new && stat -c %u:%g /host /host/new"), "0:0\n0:0")
	}
	if err := os.RemoveAll(filepath.Dir(made)); err != nil {
		t.Fatal(err)
	}
	shown := testenv.Unique("vol")
	c.ok("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device="+dir, shown)
	t.Cleanup(func() { c.ok("volume", "rm", "-f", shown) })
	equal(t, "a volume that shows a directory", c.ok("run", "--rm", "-v", shown+":/host", "busybox", "stat", "-c", "%u:%g", "/host/root", "/host/mine"), "65534:65534\n9:8")
}

// usernsShared joins namespaces of containers in user namespaces, and has to join
// these, too.
func usernsShared(t *testing.T, c *cli) {
	donor, other, host := c.background("--ipc", "shareable"), c.background("--ipc", "shareable"), c.background("--userns", "host", "--ipc", "shareable")
	users := c.ok("exec", donor, "readlink", "/proc/self/ns/user")
	for _, kind := range []string{"network", "pid", "ipc"} {
		got := c.ok("run", "--rm", "--"+kind, "container:"+donor, "busybox", "sh", "-c", "readlink /proc/self/ns/user; stat -c %u:%g / /etc/hosts; ip addr | grep -c inet; touch /dev/shm/x /x && echo ok")
		matches(t, kind, got, "^"+strings.NewReplacer("[", `\[`, "]", `\]`).Replace(users)+"\n0:0\n0:0\n\\d\nok$")
	}
	matches(t, "all of them", c.ok("run", "--rm", "--network", "container:"+donor, "--pid", "container:"+donor, "--ipc", "container:"+donor, "busybox", "ps"), "sleep 600")
	matches(t, "in two", c.fails(125, "run", "--rm", "--network", "container:"+donor, "--pid", "container:"+other, "busybox", "true"), "they are in different user namespaces")
	matches(t, "of the host's", c.fails(125, "run", "--rm", "--network", "container:"+host, "busybox", "true"), "it is in the host's user namespace")
	for _, kind := range []string{"network", "pid", "ipc"} {
		matches(t, kind+" from the host's", c.fails(125, "run", "--rm", "--userns", "host", "--"+kind, "container:"+donor, "busybox", "true"), "it is in a user namespace of its own, which this one cannot be in with --userns=host")
		equal(t, kind+" within the host's", c.ok("run", "--rm", "--userns", "host", "--"+kind, "container:"+host, "busybox", "id", "-u"), "0")
	}
	matches(t, "no network", c.ok("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link"), "^1: lo: <LOOPBACK,UP")
	equal(t, "the host's IPC", c.ok("run", "--rm", "--ipc", "host", "busybox", "readlink", "/proc/self/ns/ipc"), c.ok("run", "--rm", "--userns", "host", "--ipc", "host", "busybox", "readlink", "/proc/self/ns/ipc"))
	matches(t, "containers see each other", c.ok("exec", donor, "ping", "-c", "1", "-W", "5", c.address(host)), "1 packets received")
}

// usernsRefusals are Docker's.
func usernsRefusals(t *testing.T, c *cli) {
	for flags, text := range map[string]string{
		"--privileged":    "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
		"--network host":  "cannot share the host's network namespace when user namespaces are enabled",
		"--pid host":      "cannot share the host PID namespace when user namespaces are enabled",
		"--userns remap":  "invalid USER mode",
		"--userns remap:": "invalid USER mode",
	} {
		got := c.fails(125, append(append([]string{"run", "--rm"}, strings.Fields(flags)...), "busybox", "true")...)
		if !strings.Contains(got, text) {
			t.Errorf("%s: got %q", flags, got)
		}
	}
}

// usernsHost: a container may be in the host's user namespace.
func usernsHost(t *testing.T, c *cli) {
	const all = "0 0 4294967295"
	for _, flags := range [][]string{nil, {"--privileged"}, {"--network", "host"}, {"--pid", "host"}, {"--privileged", "--network", "host", "--pid", "host", "--ipc", "host"}} {
		got := c.ok(append(append([]string{"run", "--rm", "--userns", "host"}, flags...), "busybox", "cat", "/proc/self/uid_map")...)
		equal(t, strings.Join(flags, " "), strings.Join(strings.Fields(got), " "), all)
	}
	name := c.background("--userns=host")
	equal(t, "mode", c.ok("inspect", "-f", "{{.HostConfig.UsernsMode}}", name), "host")
	equal(t, "exec", strings.Join(strings.Fields(c.ok("exec", name, "cat", "/proc/self/uid_map")), " "), all)
}

// TestUserNamespacesSurvive: containers are found again by a new daemon and a new
// supervisor, also by a daemon that has no mappings any more.
func TestUserNamespacesSurvive(t *testing.T) {
	t.Parallel()
	e := remapped(t)
	c := one(t, e)
	name, stopped := c.background("-v", "/vol", "--ipc", "shareable"), c.container()
	c.ok("create", "--name", stopped, "busybox", "sh", "-c", "stat -c %u:%g /f /; cat /proc/self/uid_map")
	check := func(when string) {
		t.Helper()
		equal(t, when+": root", c.ok("exec", name, "sh", "-c", "touch /root/f /vol/f && id -u"), "0")
		equal(t, when+": archive", owners(t, c.ok("cp", name+":/root/f", "-"))["f"], "0:0")
		equal(t, when+": mapping", strings.Fields(c.ok("exec", name, "cat", "/proc/self/uid_map"))[1], fmt.Sprint(remapUID))
	}
	check("at first")
	e.crash(t)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	check("with a new daemon")
	e.killSupervisor(t)
	check("with a new supervisor")
	plant(t, filepath.Join(e.dir, "f"), map[string]string{"f": "x"})
	c.ok("cp", filepath.Join(e.dir, "f", "f"), stopped+":/f")

	if err := e.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	e.args = e.args[:len(e.args):len(e.args)]
	for i, a := range e.args {
		if a == "--userns-remap" {
			e.args[i+1] = ""
		}
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	check("without mappings")
	for _, kind := range []string{"network", "pid", "ipc"} {
		matches(t, "joined without mappings", c.fails(125, "run", "--rm", "--"+kind, "container:"+name, "busybox", "true"), "it is in a user namespace of its own, .* restart it first")
	}
	equal(t, "a container of before", strings.Join(strings.Fields(c.ok("start", "-a", stopped)), " "), "0:0 0:0 0 0 4294967295")
	c.ok("restart", "-t", "0", name)
	equal(t, "its files", c.ok("exec", name, "stat", "-c", "%u:%g", "/root/f", "/vol/f"), "0:0\n0:0")
	equal(t, "its namespace", strings.Fields(c.ok("exec", name, "cat", "/proc/self/uid_map"))[1], "0")
	equal(t, "joined after that", c.ok("run", "--rm", "--network", "container:"+name, "busybox", "id", "-u"), "0")
}

// TestUserNamespacesRefused: a daemon that cannot give containers the ids which it
// is told of says why and does not start.
func TestUserNamespacesRefused(t *testing.T) {
	needEngine(t, gantryEngine)
	testenv.Need(t, testenv.Root)
	t.Parallel()
	for value, text := range map[string]string{
		"no-such-user": "userns-remap: user no-such-user has no entry in /etc/passwd", "a:b:c": "invalid user/group specification", "daemon:no-such-group": "group no-such-group has no entry",
		"daemon": "usermod --add-subuids",
	} {
		dir := t.TempDir()
		out, err := exec.CommandContext(t.Context(), daemonPath(), "--config-file=", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
			"-H", "unix://"+filepath.Join(dir, "s"), "--pidfile", filepath.Join(dir, "pid"), "--bridge", "none", "--userns-remap", value).CombinedOutput()
		if err == nil || !strings.Contains(string(out), text) {
			t.Errorf("%s: got %v, %s", value, err, out)
		}
	}
}
