package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-run/gantry/internal/testimage"
)

// daemon is a running engine and the client that its users have.
type daemon struct {
	name   string
	dir    string
	client string // path of the CLI
	env    []string
	cmd    *exec.Cmd
	ready  time.Duration // from exec to the first answer
	cgroup string
}

// startDaemon starts an engine with roots, socket, bridge and cgroup of its own
// and loads busybox into it.
func startDaemon(dir, name, program, client string, number int) (_ *daemon, err error) {
	d := &daemon{name: name, dir: filepath.Join(dir, name), client: client, cgroup: "/" + filepath.Base(dir) + "-" + name}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		return nil, err
	}
	if err := mountVolatile(d.execRoot()); err != nil {
		return nil, err
	}
	sock := filepath.Join(d.dir, "engine.sock")
	d.env = append(os.Environ(), "DOCKER_HOST=unix://"+sock, "DOCKER_CONFIG="+d.dir)
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the daemon has its own descriptor
	d.cmd = exec.Command(program, "--data-root", filepath.Join(d.dir, "data"), "--exec-root", d.execRoot(),
		"-H", "unix://"+sock, "--pidfile", filepath.Join(d.dir, "pid"), "--config-file", filepath.Join(d.dir, "daemon.json"),
		"--bip", fmt.Sprintf("10.%d.0.1/16", 200+number), "--cgroup-parent", d.cgroup)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begin := time.Now()
	if err := d.account(d.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	for {
		resp, err := d.get(context.Background(), "/_ping")
		if err == nil {
			_ = resp.Body.Close() // nothing in it matters
			break
		}
		if time.Since(begin) > time.Minute {
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s does not answer: %w\n%s", name, err, text)
		}
		time.Sleep(time.Millisecond)
	}
	d.ready = time.Since(begin)
	return d, d.load()
}

// engineGroup is the cgroup that tells what the engine uses of the CPU.
func (d *daemon) engineGroup() string { return d.cgroup + "-engine" }

// account calls start in the engine's cgroup: whatever the engine starts is there,
// until it moves to a cgroup of a container.
func (d *daemon) account(start func() error) error {
	top, ours := usageTop()
	dir := filepath.Join(top, d.engineGroup())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	enter := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
	}
	if err := enter(dir); err != nil {
		return err
	}
	return errors.Join(start(), enter(filepath.Join(top, ours)))
}

// usageTop is the hierarchy of cgroups that accounts for CPU time, and our own
// place in it.
func usageTop() (top, ours string) {
	top, controller := "/sys/fs/cgroup/cpuacct", "cpuacct:"
	if _, err := os.Stat(top); err != nil {
		top, controller = "/sys/fs/cgroup", "0::"
	}
	groups, _ := os.ReadFile("/proc/self/cgroup") // without it we are at the top
	for line := range strings.Lines(string(groups)) {
		if _, place, ok := strings.Cut(line, controller); ok {
			ours = strings.TrimSpace(place)
		}
	}
	return top, ours
}

// mountVolatile makes a directory in memory, as /run is one.
func mountVolatile(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

func (d *daemon) execRoot() string { return filepath.Join(d.dir, "exec") }

// get calls the API.
func (d *daemon) get(ctx context.Context, path string) (*http.Response, error) {
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(d.dir, "engine.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://d"+path, nil)
	if err != nil {
		return nil, err
	}
	return hc.Do(req)
}

func (d *daemon) load() error {
	img, err := testimage.Busybox(testimage.Docker, testimage.Gzip)
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, "busybox.tar")
	tagged := testimage.Tagged{Image: img, Names: []string{"busybox:latest"}}
	if err := testimage.WriteFile(file, func(w io.Writer) error { return testimage.WriteDockerArchive(w, tagged) }); err != nil {
		return err
	}
	_, err = d.do("load", "-q", "-i", file)
	return err
}

// do runs the client and gives how long that took.
func (d *daemon) do(args ...string) (time.Duration, error) {
	cmd := exec.Command(d.client, args...)
	cmd.Env = d.env
	return timed(cmd)
}

// timed runs a command with its output discarded, as far as it is no complaint.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	stderr, err := os.CreateTemp("", "bench-stderr-*") // a file: a pipe would cost a goroutine and wake-ups
	if err != nil {
		return 0, err
	}
	defer func() { _ = stderr.Close(); _ = os.Remove(stderr.Name()) }()
	cmd.Stderr = stderr
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		text, _ := os.ReadFile(stderr.Name())
		return 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, text)
	}
	return took, nil
}

// stop ends the daemon and removes its cgroup. What then still runs in this PID
// namespace, other daemons included, is killed.
func (d *daemon) stop() error {
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // with the daemon that was stopped first
	}
	_ = d.cmd.Wait() // it was told to end; how is not of interest
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := 0
		for _, p := range processes() {
			if p.pid != os.Getpid() {
				left++
				_ = syscall.Kill(p.pid, syscall.SIGKILL) // within our own PID namespace
			}
		}
		if left == 0 || time.Now().After(end) {
			break
		}
	}
	_ = exec.Command("ip", "link", "del", "docker0").Run() // dockerd leaves it; the namespace ends with us anyhow
	removeCgroups(d.cgroup)
	removeCgroups(d.engineGroup())
	return errors.Join(err, syscall.Unmount(d.execRoot(), syscall.MNT_DETACH)) // dockerd leaves mounts in it
}

// removeCgroups removes a cgroup and what is below it from every hierarchy.
func removeCgroups(name string) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*" + name)
	if own := "/sys/fs/cgroup" + name; len(tops) == 0 {
		tops = []string{own}
	}
	for _, top := range tops {
		below, _ := filepath.Glob(top + "/*/")
		for _, b := range append(below, top) {
			_ = syscall.Rmdir(b) // what is busy stays for the next boot
		}
	}
}

// process is one that shares this PID namespace: the engines' are, those of
// their containers are not.
type process struct {
	pid  int
	name string
	pss  int // kB, its share of what it maps
	rss  int // kB
	fds  int
}

func processes() []process {
	own, _ := os.Readlink("/proc/self/ns/pid")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var all []process
	for _, dir := range dirs {
		if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != own {
			continue
		}
		p := process{}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		comm, _ := os.ReadFile(dir + "/comm")
		p.name = string(comm[:max(0, len(comm)-1)])
		rollup, _ := os.ReadFile(dir + "/smaps_rollup")
		p.pss, p.rss = field(rollup, "Pss:"), field(rollup, "Rss:")
		fds, _ := os.ReadDir(dir + "/fd")
		p.fds = len(fds)
		all = append(all, p)
	}
	return all
}
