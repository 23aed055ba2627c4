package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestStatsAreHonest: what a container does is what stats shows, also in its next
// run and in the network of another container.
func TestStatsAreHonest(t *testing.T) {
	testenv.Need(t, testenv.Disk(os.TempDir())) // else a file is no cache
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "--memory", "256m", "busybox", "sh", "-c",
			"head -c 50000000 /dev/zero > /tmp/cache; cat /tmp/cache > /dev/null; while :; do :; done")
		for range 2 {
			c.until("CPU use", func(s string) bool {
				cpu, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "%"), 64)
				return err == nil && cpu > 1 && cpu < 150 // one process, on a machine that has other things to do
			}, "stats", "--no-stream", "--format", "{{.CPUPerc}}", name)
			// The file that it has written is cache, not use.
			matches(t, "memory", c.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", name), `^([\d.]+KiB|[\d]\.[\d]*MiB|1?\dMiB|1\d\.\d*MiB) / 256MiB$`)
			c.ok("restart", "-t", "0", name)
		}
		addr := c.address(name)
		guest := c.background("--network", "container:"+name)
		c.ok("exec", guest, "ping", "-c", "3", "-i", "0.2", addr)
		c.ok("exec", guest, "sh", "-c", "ping -c 1 -W 1 "+gateway(c, name))
		for _, n := range []string{name, guest} {
			matches(t, "network", c.ok("stats", "--no-stream", "--format", "{{.NetIO}}", n), `^[1-9][\d.]*k?B / [1-9][\d.]*k?B$`)
		}
		c.ok("kill", guest)
		equal(t, "a stopped container", c.ok("stats", "--no-stream", "--format", "{{.PIDs}}", guest), "0")
	})
}

// gateway is the address of the host in a container's network.
func gateway(c *cli, name string) string {
	return c.ok("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", name)
}
