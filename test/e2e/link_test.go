package e2e

import (
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
