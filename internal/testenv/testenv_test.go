package testenv

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main(m, Options{
		Namespaces: Mount | Net | PID,
		Gates:      []Gate{FDs, Goroutines, Mounts, Links, Processes},
	})
}

func TestSandboxIsOfItsOwn(t *testing.T) {
	Need(t, Root)
	if os.Getppid() != 1 {
		t.Errorf("the parent is process %d, want the sandbox's init", os.Getppid())
	}
	links, err := Links.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0] != "lo" {
		t.Errorf("links %q, want only lo", links)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("loopback is not up: %v", err)
	}
	defer l.Close()
	if _, err := os.Stat("/sys/class/net/lo"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir("/sys/fs/cgroup"); err != nil || len(entries) == 0 {
		t.Errorf("no cgroups in the sandbox: %v", err)
	}
	for _, gone := range os.Environ() {
		if strings.HasPrefix(gone, stageEnv+"="+stageInit) {
			t.Errorf("environment still holds %s", gone)
		}
	}
}

func TestInitReapsOrphans(t *testing.T) {
	Need(t, Root)
	// A child that leaves a grandchild behind: the grandchild ends as an orphan.
	out, err := exec.Command("/bin/sh", "-c", "(sleep 0.05 >/dev/null 2>&1 & echo $!)").Output()
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(out)) + "/stat"
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(stat); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphan was not reaped: %s is still there", stat)
		}
	}
}

// TestGatesSeeLeaks makes one leak of each kind and checks that the gate names it.
func TestGatesSeeLeaks(t *testing.T) {
	Need(t, Root)
	dir := t.TempDir()
	for _, c := range []struct {
		gate Gate
		leak func(t *testing.T) (undo func())
		want string
	}{
		{FDs, func(t *testing.T) func() {
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}, dir},
		{Goroutines, func(*testing.T) func() {
			c := make(chan int)
			go func() { <-c }()
			return func() { close(c) }
		}, "created by github.com/gantry-run/gantry/internal/testenv.TestGatesSeeLeaks"},
		{Mounts, func(t *testing.T) func() {
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			return func() { _ = syscall.Unmount(dir, 0) }
		}, dir + " tmpfs"},
		{Children, func(t *testing.T) func() {
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
		}, "sleep 60"},
	} {
		t.Run(c.gate.Name, func(t *testing.T) {
			before, err := snapshot([]Gate{c.gate})
			if err != nil {
				t.Fatal(err)
			}
			undo := c.leak(t)
			err = before[0].check(time.Now())
			undo()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("leak gave %v, want a mention of %q", err, c.want)
			}
			if err := before.check(); err != nil {
				t.Errorf("after the undo: %v", err)
			}
		})
	}
}

func TestCgroupGate(t *testing.T) {
	Need(t, Root, CgroupV1)
	name := "/" + Unique("gantry-testenv")
	roots, err := cgroupMounts()
	if err != nil || len(roots) == 0 {
		t.Fatalf("cgroup mounts: %q, %v", roots, err)
	}
	for _, sub := range []string{"", "/leaf"} {
		if err := os.Mkdir(roots[0]+name+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Cgroups(name).List()
	if err != nil || len(all) != 1 || !strings.HasSuffix(all[0], "/leaf") {
		t.Errorf("cgroups %q, %v; want the leaf", all, err)
	}
	if err := RemoveCgroups(name); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(roots[0] + name); err == nil {
		t.Error("the cgroup is still there")
	}
}

func TestNames(t *testing.T) {
	if a, b := Unique("x"), Unique("x"); a == b {
		t.Errorf("Unique gave %s twice", a)
	}
	if n := Link("gntry"); len(n) > 15 {
		t.Errorf("link name %q is longer than 15 bytes", n)
	}
	p, gw := Subnet()
	if !p.Contains(gw) {
		t.Errorf("gateway %s is not in %s", gw, p)
	}
	if q, _ := Subnet(); q.Overlaps(p) {
		t.Errorf("subnets %s and %s overlap", p, q)
	}
}

func TestProbes(t *testing.T) {
	if Has(Tool("no-such-program-here")) {
		t.Error("a missing program is found")
	}
	if !Has(File("/proc")) {
		t.Error("/proc is not found")
	}
	if Has(CgroupV1) == Has(CgroupV2) {
		t.Error("cgroup v1 and pure v2 exclude each other")
	}
}
