package e2e

import (
	"slices"
	"strings"
	"testing"
)

// --link on the default bridge: names, variables, and the new address after a
// restart of the other container.
func TestLink(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		target := c.background("--expose", "81", "-e", "COLOUR=red")
		host := c.background("--link", target+":some-db")
		address := func() string { return c.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", target) }
		names := func() string { return c.ok("exec", host, "grep", "some-db", "/etc/hosts") }
		matches(t, "hosts", names(), "^"+address()+`\tsome-db [0-9a-f]{12} `+target+"$")
		env := "\n" + c.ok("exec", host, "env") + "\n"
		for _, want := range []string{
			"SOME_DB_PORT=tcp://" + address() + ":81", "SOME_DB_PORT_81_TCP_ADDR=" + address(), "SOME_DB_PORT_81_TCP_PROTO=tcp",
			"SOME_DB_NAME=/" + host + "/some-db", "SOME_DB_ENV_COLOUR=red",
		} {
			if !strings.Contains(env, "\n"+want+"\n") {
				t.Errorf("no %s in %s", want, env)
			}
		}
		equal(t, "inspect", c.ok("inspect", "-f", "{{json .HostConfig.Links}}", host), `["/`+target+":/"+host+`/some-db"]`)

		c.ok("stop", "-t", "0", target)
		matches(t, "target does not run", c.fails(1, "restart", "-t", "0", host), "Cannot link to a non running container: /"+target+" AS /"+host+"/some-db")
		c.background() // may get the address
		c.ok("start", target)
		c.ok("start", host)
		c.ok("restart", "-t", "0", target)
		matches(t, "after a restart", names(), "^"+address()+"\tsome-db")
		matches(t, "nobody", c.fails(1, "create", "--link", "nobody", "busybox"), "could not get container for nobody: No such container: nobody")
	})
}

// TestLinkNames: a link is one more name of the container that it leads to.
func TestLinkNames(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		target := c.background()
		host := c.background("--link", target+":db", "--link", target+":other", "--link", target+":db")
		listed := func(flags ...string) string {
			return c.ok(slices.Concat([]string{"ps", "--filter", "name=^" + target + "$", "--format", "{{.Names}}"}, flags)...)
		}
		all := []string{target, host + "/db", host + "/other"}
		slices.Sort(all)
		equal(t, "all names", listed("--no-trunc"), strings.Join(all, ","))
		equal(t, "its own name", listed(), target)
		equal(t, "the other's names", c.ok("ps", "--no-trunc", "--filter", "name=^"+host+"$", "--format", "{{.Names}}"), host)
		equal(t, "inspect of a link", c.ok("inspect", "-f", "{{.Name}}", host+"/db"), "/"+target)
		equal(t, "exec through a link", c.ok("exec", "/"+host+"/db", "hostname"), c.ok("exec", target, "hostname"))

		renamed := c.container()
		c.ok("rename", host, renamed)
		equal(t, "after a rename", c.ok("inspect", "-f", "{{.Name}}", renamed+"/other"), "/"+target)

		matches(t, "no link", c.fails(1, "rm", "--link", renamed+"/nope"), `No such container: /?`+renamed+`/nope`)
		matches(t, "not a link", c.fails(1, "rm", "--link", target), "Conflict, cannot remove the default link name of the container")
		c.ok("rm", "--link", renamed+"/db")
		equal(t, "inspect", c.ok("inspect", "-f", "{{.HostConfig.Links}}", renamed), "[/"+target+":/"+renamed+"/other]")
		equal(t, "one name less", listed("--no-trunc"), strings.Join(slices.Sorted(slices.Values([]string{target, renamed + "/other"})), ","))
		matches(t, "the removed link", c.fails(1, "exec", renamed+"/db", "true"), "No such container")
		c.fails(1, "exec", renamed, "grep", "-w", "db", "/etc/hosts")
		c.ok("rm", "--link", renamed+"/other")
		equal(t, "no links left", c.ok("inspect", "-f", "{{.HostConfig.Links}}", renamed), "[]")
		c.ok("restart", "-t", "0", renamed)
		equal(t, "running", c.ok("inspect", "-f", "{{.State.Running}}", target, renamed), "true\ntrue")
	})
}
