package e2e

import "testing"

// showLimits prints memory, pids and CPU limits as both versions of cgroups show
// them to a container.
const showLimits = `cd /sys/fs/cgroup
	if [ -f cgroup.controllers ]; then cat memory.max memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus
	else cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus; fi`

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background("--memory", "64m", "--memory-swap", "96m", "--pids-limit", "50", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0")
		// v2 counts swap alone, v1 with memory; v2 has the weight 1 to 10000 for shares 2 to 262144.
		matches(t, "limits", c.ok("exec", name, "sh", "-c", showLimits),
			`^(67108864\n33554432\n50\n50000 100000\n(20|59)\n0|67108864\n100663296\n50\n50000\n512\n0)$`)
		c.ok("update", "--memory", "48m", "--pids-limit", "40", "--cpus", "0.25", name)
		matches(t, "updated limits", c.ok("exec", name, "sh", "-c", showLimits), `^50331648\n\d+\n40\n25000\b`)
		matches(t, "too many processes", c.fails(2, "run", "--rm", "--pids-limit", "1", "busybox", "sh", "-c", "true | true"), `can't fork: Resource temporarily unavailable`)
	})
}

// TestUlimitTooHigh: no kernel allows so many files. Docker says so in any case.
func TestUlimitTooHigh(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		args := []string{"--ulimit", "nofile=2000000000", "busybox", "true"}
		const exact = "run.gantry.exact-limits=true"
		if c.name != "docker20" { // which has no --annotation
			matches(t, "exact", c.fails(125, append([]string{"run", "--rm", "--annotation", exact}, args...)...), `error setting rlimit type 7: operation not permitted`)
		}
		if c.e.kind != dockerEngine {
			c.ok(append([]string{"run", "--rm"}, args...)...)
		}
	})
}
