package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

const (
	ownProfile     = "cat /proc/self/attr/current"
	defaultProfile = "docker-default (enforce)"
)

// TestAppArmor: which profile containers and what is executed in them have.
func TestAppArmor(t *testing.T) {
	testenv.Need(t, testenv.AppArmor, testenv.Tool("apparmor_parser"))
	name := testenv.Unique("gantry-e2e")
	parse(t, "-Kr", "profile "+name+" flags=(attach_disconnected) { file, capability, network, signal, ptrace, unix, }")
	t.Cleanup(func() { parse(t, "-R", "profile "+name+" {}") })
	each(t, func(t *testing.T, c *cli) {
		matches(t, "info", c.ok("info", "-f", "{{json .SecurityOptions}}"), `"name=apparmor`)
		for _, tt := range []struct {
			flags            []string
			profile, inspect string
		}{
			{[]string{"--user", "app", "--init"}, defaultProfile, "docker-default"},
			{[]string{"--privileged"}, "unconfined", "unconfined"},
			{[]string{"--privileged", "--security-opt", "apparmor=docker-default"}, defaultProfile, "docker-default"},
			{[]string{"--security-opt", "apparmor=unconfined"}, "unconfined", "unconfined"},
			{[]string{"--security-opt", "apparmor:" + name, "--security-opt", "no-new-privileges"}, name + " (enforce)", name},
		} {
			ctr := c.background(tt.flags...)
			what := strings.Join(tt.flags, " ")
			equal(t, "container with "+what, c.ok("exec", ctr, "sh", "-c", ownProfile+" /proc/1/attr/current"), tt.profile+"\n"+tt.profile)
			equal(t, "inspect with "+what, c.ok("inspect", "-f", "{{.AppArmorProfile}}", ctr), tt.inspect)
		}
		ctr := c.background("--health-cmd", ownProfile, "--health-interval", "200ms")
		equal(t, "health check", strings.TrimSpace(c.health(ctr, "healthy").State.Health.Log[0].Output), defaultProfile)
		equal(t, "exec --privileged", c.ok("exec", "--privileged", ctr, "sh", "-c", ownProfile), defaultProfile)
		c.ok("stop", ctr) // the daemon may signal it
	})
}

// TestAppArmorDefault: what the default profile denies to a container that
// capabilities, mounts and seccomp would let.
func TestAppArmorDefault(t *testing.T) {
	testenv.Need(t, testenv.AppArmor, testenv.Tool("apparmor_parser"))
	c := one(t, world.engine)
	open := []string{"run", "--rm", "--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"}
	run := func(script string, flags ...string) string {
		return c.ok(slices.Concat(open, flags, []string{"probe", "sh", "-c", script})...)
	}
	var script strings.Builder
	for _, denied := range []string{
		"mount -t tmpfs none /tmp",
		"mount -o bind /etc /tmp",
		"probe socket 38", // AF_ALG
		"probe socket 40", // AF_VSOCK
		"echo 1 >/proc/sysrq-trigger",
		"head -c 1 /proc/kcore",
		"echo 100 >/proc/sys/vm/swappiness",
		"echo 1 >/proc/sys/kernel/panic",
		"echo 1 >/proc/sys/kernel/sysrq",
		"echo 1 >/proc/irq/default_smp_affinity",
		"echo 1 >/proc/sysvipc/msg",
	} {
		fmt.Fprintf(&script, "out=$({ %s; } 2>&1); case $out in *ermission\\ denied*) ;; *) echo '%s: '\"$out\";; esac\n", denied, denied)
	}
	for _, allowed := range []string{
		"echo 5 >/proc/self/oom_score_adj",
		"echo 1000000 >/proc/sys/kernel/shmmax",
		"echo 250 32000 32 128 >/proc/sys/kernel/sem",
		"probe socket 1", // AF_UNIX
		"umount /dev/mqueue",
		"chown 5:5 /tmp",
	} {
		fmt.Fprintf(&script, "%s || echo '%s is denied'\n", allowed, allowed)
	}
	equal(t, "what is not as it should be", run(script.String()), "")
	equal(t, "a mount without the profile", run("mount -t tmpfs none /tmp && echo mounted", "--security-opt", "apparmor=unconfined"), "mounted")

	// Containers with the profile may signal each other.
	ctr := c.background()
	c.ok("exec", "-d", ctr, "sleep", "999")
	c.ok("run", "--rm", "--pid", "container:"+ctr, "busybox", "sh", "-c",
		`for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ "$(cat $p/comm)" != sleep ] || kill -9 ${p#/proc/} && killed=yes; done; [ $killed ]`)
}

// TestAppArmorMissingProfile: an unknown profile is an error with Docker's text and
// code; the default one is loaded again if somebody has unloaded it.
func TestAppArmorMissingProfile(t *testing.T) {
	testenv.Need(t, testenv.AppArmor, testenv.Tool("apparmor_parser"))
	c := one(t, world.engine)
	got := c.fails(127, "run", "--rm", "--security-opt", "apparmor=gantry-none", "busybox", "true")
	matches(t, "unknown profile", got, `OCI runtime create failed: .*unable to apply apparmor profile: apparmor failed to apply profile.*: no such file or directory: unknown`)
	ctr := c.background()
	for what, args := range map[string][]string{"run": {"run", "--rm", "busybox"}, "exec": {"exec", ctr}} {
		parse(t, "-R", "profile docker-default {}")
		equal(t, what+" after the profile was unloaded", c.ok(append(args, "sh", "-c", ownProfile)...), defaultProfile)
	}
}

// parse lets apparmor_parser do something with a profile.
func parse(t *testing.T, action, text string) {
	t.Helper()
	cmd := exec.Command("apparmor_parser", action)
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("apparmor_parser %s: %v", action, err)
	}
}
