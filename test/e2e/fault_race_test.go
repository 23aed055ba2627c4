package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// race runs two commands at the same time, as often as rounds says, and hands
// both results to check.
func race(c *cli, rounds int, prepare func(round int) (a, b []string), check func(round int, a, b result)) {
	for round := range rounds {
		a, b := prepare(round)
		var ra, rb result
		var wg sync.WaitGroup
		wg.Go(func() { ra = c.do(a...) })
		wg.Go(func() { rb = c.do(b...) })
		wg.Wait()
		check(round, ra, rb)
	}
}

const raceRounds = 5

// codes gives both exit codes, the smaller first.
func codes(a, b result) string { return fmt.Sprint(min(a.code, b.code), max(a.code, b.code)) }

func TestRaceCreateSameName(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			create := []string{"create", "--name", name, "busybox", "true"}
			return create, create
		}, func(_ int, a, b result) {
			equal(t, "exit codes", codes(a, b), "0 1")
			id := strings.TrimSpace(a.stdout + b.stdout)
			matches(t, "the loser", message(a.stderr+b.stderr), `Conflict\. The container name "/`+name+`" is already in use by container "?`+id+`"?\. You have to remove \(or rename\) that container to be able to reuse that name`)
			c.ok("rm", name)
		})
	})
}

func TestRaceStartStart(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			c.ok("create", "--name", name, "busybox", "sh", "-c", "echo one; exec sleep 600")
			return []string{"start", name}, []string{"start", name}
		}, func(_ int, a, b result) {
			equal(t, "exit codes", codes(a, b), "0 0") // started already is no error
			c.until("a line", func(s string) bool { return s != "" }, "logs", name)
			equal(t, "runs", c.ok("logs", name), "one")
			c.ok("rm", "-f", name)
		})
	})
}

func TestRaceStartRemove(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			c.ok("create", "--name", name, "busybox", "sleep", "600")
			return []string{"start", name}, []string{"rm", name}
		}, func(_ int, start, rm result) {
			switch {
			case start.code == 0 && rm.code != 0:
				matches(t, "rm", rm.stderr, `(?i)cannot remove .*container .*is running|You cannot remove a running container`)
				equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}}", name), "running")
			case rm.code == 0 && start.code != 0:
				matches(t, "start", start.stderr, `No such container|marked for removal`)
				c.fails(1, "inspect", name)
			default:
				t.Errorf("start: %d %s; rm: %d %s", start.code, start.stderr, rm.code, rm.stderr)
			}
			c.do("rm", "-f", name)
		})
	})
}

func TestRaceStopRemove(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			c.ok("run", "-d", "--name", name, "busybox", "sleep", "600")
			return []string{"stop", "-t", "0", name}, []string{"rm", "-f", name}
		}, func(_ int, stop, rm result) {
			equal(t, "rm", fmt.Sprint(rm.code, rm.stderr), "0")
			if stop.code != 0 {
				matches(t, "stop", stop.stderr, `No such container`)
			}
			c.fails(1, "inspect", name)
		})
	})
}

func TestRaceRename(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		x, y, wanted := c.container(), c.container(), c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			c.ok("create", "--name", x, "busybox", "true")
			c.ok("create", "--name", y, "busybox", "true")
			return []string{"rename", x, wanted}, []string{"rename", y, wanted}
		}, func(_ int, a, b result) {
			equal(t, "exit codes", codes(a, b), "0 1")
			matches(t, "the loser", message(a.stderr+b.stderr), `Conflict\. The container name "/`+wanted+`" is already in use by container`)
			if a.code == 0 {
				c.ok("rm", wanted, y)
			} else {
				c.ok("rm", wanted, x)
			}
		})
	})
}

func TestRaceRemoveRemove(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		race(c, raceRounds, func(int) (a, b []string) {
			c.ok("run", "-d", "--name", name, "busybox", "sleep", "600")
			return []string{"rm", "-f", name}, []string{"rm", "-f", name}
		}, func(_ int, a, b result) {
			if a.code != 0 && b.code != 0 {
				t.Errorf("neither removed: %s %s", a.stderr, b.stderr)
			}
			for _, r := range []result{a, b} {
				if r.stderr != "" {
					matches(t, "stderr", r.stderr, `No such container|is already in progress`)
				}
			}
			c.fails(1, "inspect", name)
		})
	})
}

// TestRaceStopRestarts: a container that ends and starts again all the time can be
// stopped, and stays so, and removed, at any moment.
func TestRaceStopRestarts(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	for round := range 20 {
		c.ok("run", "-d", "--name", "again", "--restart", "always", "busybox", "sleep", "0.05")
		time.Sleep(100*time.Millisecond + time.Duration(round)*10*time.Millisecond) // about the first restart
		verb := []string{"stop", "-t", "0", "again"}
		if round%2 == 1 {
			verb = []string{"rm", "-f", "again"}
		}
		c.ok(verb...)
		if round%2 == 0 {
			equal(t, "state", c.ok("inspect", "-f", "{{.State.Status}}", "again"), "exited")
			agree(t, e, fmt.Sprint("round ", round))
			time.Sleep(150 * time.Millisecond) // in which it must not start
			equal(t, "state later", c.ok("inspect", "-f", "{{.State.Status}}", "again"), "exited")
			c.ok("rm", "again")
		}
	}
	nothingLeft(t, e)
}

// TestTwoHundredAtOnce starts, then removes, 200 containers at the same time.
func TestTwoHundredAtOnce(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	const n = 200
	all := func(verb func(i int) error) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if err := verb(i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all(func(i int) error {
		_, err := e.call(t.Context(), "POST", fmt.Sprintf("/containers/create?name=many-%d", i), "application/json", strings.NewReader(`{"Image":"busybox","Cmd":["sh","-c","echo here; sleep 600"],"Volumes":{"/vol":{}}}`))
		if err != nil {
			return err
		}
		return e.post(t.Context(), fmt.Sprintf("/containers/many-%d/start", i))
	})
	agree(t, e, "200 started")
	c := one(t, e)
	if got := strings.Count(c.ok("ps", "-q")+"\n", "\n"); got != n {
		t.Errorf("%d run", got)
	}
	addresses := map[string]bool{}
	for _, a := range strings.Fields(c.ok(append([]string{"inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}"}, strings.Fields(c.ok("ps", "-q"))...)...)) {
		addresses[a] = true
	}
	if len(addresses) != n {
		t.Errorf("%d addresses", len(addresses))
	}
	all(func(i int) error {
		_, err := e.call(t.Context(), "DELETE", fmt.Sprintf("/containers/many-%d?force=1&v=1", i), "", nil)
		return err
	})
	nothingLeft(t, e)
}
