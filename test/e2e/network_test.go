package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// fetch gets a URL from the sandbox's own network, where the daemon runs.
func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// fetchOutside gets a URL from beyond the sandbox's uplink.
func fetchOutside(t *testing.T, url string) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "exec", outsideNS, world.probe, "get", url).CombinedOutput()
	if err != nil {
		t.Fatalf("%s from outside: %v: %s", url, err, out)
	}
	return string(out)
}

// server starts a web server in a container and waits until it listens.
func (c *cli) server(flags ...string) string {
	c.t.Helper()
	name := c.container()
	args := append([]string{"run", "-d", "--name", name, "--hostname", "web"}, flags...)
	c.ok(append(args, "probe", "probe", "serve", ":80")...)
	c.until("listening", func(s string) bool { return s == "listening\n" }, "logs", name)
	return name
}

// hostPort gives the host port of a published container port.
func (c *cli) hostPort(name, port string) string {
	c.t.Helper()
	first, _, _ := strings.Cut(c.ok("port", name, port), "\n")
	_, p, err := net.SplitHostPort(first)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cli) address(name string) string {
	c.t.Helper()
	return c.ok("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
}

func TestPublish(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.server("-p", "80")
		port := c.hostPort(name, "80/tcp")
		gateway := c.ok("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", name)
		matches(t, "from localhost", fetch(t, "http://127.0.0.1:"+port+"/x"), `^web \S+ /x\n$`)
		matches(t, "from the uplink's address", fetch(t, "http://"+insideAddr+":"+port+"/y"), `^web (`+gateway+`|`+insideAddr+`) /y\n$`)
		// The client's address survives.
		equal(t, "from outside", fetchOutside(t, "http://"+insideAddr+":"+port+"/z"), "web "+outsideAddr+" /z\n")
		matches(t, "ps", c.ok("ps", "--filter", "name="+name, "--format", "{{.Ports}}"), `0\.0\.0\.0:`+port+`->80/tcp`)
	})
}

func TestPublishOnLoopbackOnly(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.server("-p", "127.0.0.1::80")
		port := c.hostPort(name, "80")
		equal(t, "port", c.ok("port", name), "80/tcp -> 127.0.0.1:"+port)
		matches(t, "from localhost", fetch(t, "http://127.0.0.1:"+port+"/"), "^web ")
		out, err := exec.Command("ip", "netns", "exec", outsideNS, world.probe, "get", "http://"+insideAddr+":"+port+"/").CombinedOutput()
		if err == nil {
			t.Errorf("reached from outside: %s", out)
		}
	})
}

func TestPublishUDP(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "-p", "5353/udp", "probe", "probe", "udp", ":5353")
		c.until("listening", func(s string) bool { return s == "listening\n" }, "logs", name)
		conn, err := net.Dial("udp", "127.0.0.1:"+c.hostPort(name, "5353/udp"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		buf := make([]byte, 100)
		for range 20 { // UDP may lose what is sent before the path is ready
			_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := conn.Write([]byte("ping")); err != nil {
				continue
			}
			if n, err := conn.Read(buf); err == nil {
				equal(t, "echo", string(buf[:n]), "ping")
				return
			}
		}
		t.Error("no datagram came back")
	})
}

func TestPublishAll(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "-P", "app", "exec", "sleep", "600")
		matches(t, "port", c.ok("port", name, "8080/tcp"), `^0\.0\.0\.0:\d+`)
	})
}

// TestPortReleased: a port is free again as soon as its container has stopped.
func TestPortReleased(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.server("-p", "80")
		port := c.hostPort(name, "80")
		c.ok("rm", "-f", name)
		again := c.server("-p", port+":80")
		matches(t, "second container", fetch(t, "http://127.0.0.1:"+port+"/"), "^web ")
		got := c.do("run", "--rm", "-p", port+":80", "busybox", "true")
		if got.code != 125 {
			t.Errorf("exit code %d, want 125", got.code)
		}
		matches(t, "port in use", message(got.stderr), `Error response from daemon: .*Bind for 0\.0\.0\.0:`+port+` failed: port is already allocated`)
		matches(t, "the first is unharmed", fetch(t, "http://127.0.0.1:"+port+"/"), "^web ")
		c.ok("rm", "-f", again)
	})
}

// TestPortOfHost: a port that another program has is refused.
func TestPortOfHost(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		r := c.do("run", "--rm", "-p", port+":80", "busybox", "true")
		if r.code != 125 {
			t.Errorf("exit code %d, want 125", r.code)
		}
		matches(t, "stderr", message(r.stderr), `(address already in use|port is already allocated)`)
	})
}

func TestContainersReachEachOther(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.server()
		addr := c.address(name)
		if net.ParseIP(addr) == nil {
			t.Fatalf("address %q", addr)
		}
		matches(t, "by address", c.ok("run", "--rm", "probe", "probe", "get", "http://"+addr+"/"), `^web 10\.`)
	})
}

func TestOutsideIsReached(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		got := c.ok("run", "--rm", "probe", "probe", "get", "http://"+outsideAddr+"/")
		// NAT: the server sees the uplink's address.
		matches(t, "answer", got, `^\S+ `+strings.ReplaceAll(insideAddr, ".", `\.`)+` /$`)
		matches(t, "ping", c.ok("run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", outsideAddr), "1 packets received, 0% packet loss")
	})
}

func TestNetworkModes(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "none", c.ok("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"), "lo")
		equal(t, "bridge", c.ok("run", "--rm", "--network", "bridge", "busybox", "ls", "/sys/class/net"), "eth0\nlo")
		self, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "host", c.ok("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"), self)
		name := c.server()
		matches(t, "of a container", c.ok("run", "--rm", "--network", "container:"+name, "probe", "probe", "get", "http://127.0.0.1/"), "^web 127.0.0.1 /")
	})
}

func TestLoopbackIsUp(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		for _, mode := range []string{"none", "bridge"} {
			matches(t, mode, c.ok("run", "--rm", "--network", mode, "busybox", "ping", "-c", "1", "-W", "2", "127.0.0.1"), "1 packets received")
		}
	})
}

func TestNameFiles(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background("--hostname", "named")
		addr := c.address(name)
		hosts := c.ok("exec", name, "cat", "/etc/hosts")
		for _, want := range []string{`(?m)^127\.0\.0\.1\s+localhost$`, `(?m)^::1\s+localhost ip6-localhost ip6-loopback$`, fmt.Sprintf(`(?m)^%s\s+named$`, addr)} {
			matches(t, "/etc/hosts", hosts, want)
		}
		equal(t, "/etc/hostname", c.ok("exec", name, "cat", "/etc/hostname"), "named")
		matches(t, "/etc/resolv.conf", c.ok("exec", name, "cat", "/etc/resolv.conf"), `(?m)^nameserver 10\.255\.255\.53$`)
		matches(t, "default route", c.ok("exec", name, "ip", "route"), `(?m)^default via 10\.\d+\.0\.1 dev eth0`)
	})
}

// TestDefaultHostname is the start of the container's ID.
func TestDefaultHostname(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		equal(t, "hostname", c.ok("exec", name, "hostname"), short(c.ok("inspect", "-f", "{{.Id}}", name)))
	})
}

func TestAddressIsReleased(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		c.ok("kill", name)
		c.untilState(name, "exited")
		equal(t, "address after the end", c.address(name), "")
		c.ok("start", name)
		matches(t, "address after the start", c.address(name), `^10\.`)
	})
}

func TestNetworkLs(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		lines := strings.Split(c.ok("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"), "\n")
		for _, want := range []string{"bridge bridge local", "host host local", "none null local"} {
			if !strings.Contains("\n"+strings.Join(lines, "\n")+"\n", "\n"+want+"\n") {
				t.Errorf("networks %q lack %q", lines, want)
			}
		}
		matches(t, "inspect", c.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "bridge"), `^10\.\d+\.0\.0/16$`)
	})
}

func TestLinkLocalAddresses(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	c := currentClient(t) // docker 20.10 sends none for the default bridge
	name := c.background("--link-local-ip", "169.254.77.1", "--link-local-ip", "169.254.77.2")
	equal(t, "addresses", c.ok("exec", name, "sh", "-c", "ip -4 -o addr show eth0 | grep -o '169.254[^ ]*' | grep -v 255.255"), "169.254.77.1/16\n169.254.77.2/16")
	equal(t, "inspect", c.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAMConfig.LinkLocalIPs}}", name), "[169.254.77.1 169.254.77.2]")
	other := c.background("--link-local-ip", "169.254.77.3")
	matches(t, "between two", c.ok("exec", other, "ping", "-c", "1", "-W", "5", "169.254.77.2"), "1 packets received")
	matches(t, "not link-local", c.fails(125, "run", "--rm", "--link-local-ip", "10.1.2.3", "busybox"), "invalid link local IP address: 10.1.2.3")
}
