package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/testenv"
)

// TestEventsHaveNoGap: clients that come at any moment, while much is going on,
// see all that has happened since a time, and go on with what happens, once each
// and in order.
func TestEventsHaveNoGap(t *testing.T) {
	needEngine(t, gantryEngine) // Docker keeps 256 events, of all tests
	t.Parallel()
	c := one(t, world.engine)
	const publishers, each, readers = 3, 6, 6
	label := c.container()
	begin := time.Now()
	end := begin.Add(20 * time.Second)
	var work sync.WaitGroup
	for range publishers {
		work.Go(func() {
			for range each {
				name := c.container()
				for _, args := range [][]string{{"create", "--name", name, "--label", "test=" + label, "busybox"}, {"rm", name}} {
					if r := c.do(args...); r.code != 0 {
						t.Errorf("%q: %s", args, r.stderr)
					}
				}
			}
		})
	}
	filters := url.QueryEscape(fmt.Sprintf(`{"label":{"test=%s":true},"event":{"create":true,"destroy":true}}`, label))
	for i := range readers {
		work.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			out, err := c.e.get(t.Context(), fmt.Sprintf("/events?since=%d.%09d&until=%d&filters=%s", begin.Unix(), begin.Nanosecond(), end.Unix(), filters))
			if err != nil {
				t.Error(err)
				return
			}
			seen := map[string]string{}
			for d := json.NewDecoder(bytes.NewReader(out)); ; {
				var e struct {
					Action string
					Actor  struct{ ID string }
				}
				if err := d.Decode(&e); err == io.EOF {
					break
				} else if err != nil {
					t.Error(err)
					return
				}
				seen[e.Actor.ID] += e.Action + " "
			}
			if len(seen) != publishers*each {
				t.Errorf("reader %d has seen %d containers, want %d", i, len(seen), publishers*each)
			}
			for id, got := range seen {
				if got != "create destroy " {
					t.Errorf("reader %d: events of %s: %s", i, id, got)
				}
			}
		})
	}
	work.Wait()
	if time.Now().Before(end.Truncate(time.Second)) {
		t.Error("a stream ended before its time")
	}
}

// TestSystemPrune: one command for all that nobody uses, and its events.
func TestSystemPrune(t *testing.T) {
	t.Parallel()
	e := own(t, engineOptions{})
	for _, cl := range world.clients {
		c := bind(t, cl, e)
		since := fmt.Sprint(time.Now().Unix() - 1)
		gone, runs := c.container(), c.background()
		c.ok("run", "--name", gone, "busybox", "true")
		matches(t, cl.name, c.ok("system", "prune", "-f"), "Deleted Containers:\n[0-9a-f]{64}\n\nTotal reclaimed space: ")
		matches(t, "removed", c.fails(1, "inspect", gone), "(?i)no such object")
		equal(t, "runs on", c.ok("inspect", "-f", "{{.State.Running}}", runs), "true")
		pruned := c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "event=prune", "--format", "{{.Type}}")
		for _, kind := range []string{"container", "network", "image"} {
			if !slices.Contains(strings.Split(pruned, "\n"), kind) {
				t.Errorf("%s: no event of type %s among %q", cl.name, kind, pruned)
			}
		}
		equal(t, "networks", c.ok("network", "prune", "-f"), "")
		c.ok("rm", "-f", runs)
	}
}

// TestVolumeEvents: volumes are mounted for a run.
func TestVolumeEvents(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		volume, since := c.volume(), fmt.Sprint(time.Now().Unix()-1)
		id := c.ok("run", "-d", "-v", volume+":/data:ro", "busybox", "true")
		c.ok("wait", id)
		want := "mount " + id + " local false\nunmount " + id + " local "
		equal(t, "events", c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "volume="+volume, "--filter", "event=mount", "--filter", "event=unmount",
			"--format", `{{.Action}} {{.Actor.Attributes.container}} {{.Actor.Attributes.driver}} {{index .Actor.Attributes "read/write"}}`), want)
		c.ok("rm", id)
	})
}

// TestNetworkEvents: a container comes to the network and leaves it, host and none
// among them. One that does not start only leaves.
func TestNetworkEvents(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if engineKind() == dockerEngine && os.Getenv("E2E_DOCKERD") == "" {
		t.Skip("needs a dockerd of today: E2E_DOCKERD names one")
	}
	each(t, func(t *testing.T, c *cli) {
		since, want, ids := fmt.Sprint(time.Now().Unix()-1), map[string]string{}, []string{}
		for network, kind := range map[string]string{"host": "host", "none": "null", "bridge": "bridge"} {
			id := c.ok("run", "-d", "--network", network, "busybox", "true")
			c.ok("wait", id)
			want[id] = fmt.Sprintf("connect %s %s,disconnect %[1]s %s", network, kind)
			failed := c.ok("create", "--network", network, "busybox", "nowhere")
			c.fails(1, "start", failed)
			want[failed] = fmt.Sprintf("disconnect %s %s", network, kind)
			ids = append(ids, id, failed)
		}
		lone := c.ok("run", "-d", "--network", "container:"+c.background(), "busybox", "true")
		c.ok("wait", lone)
		ids = append(ids, lone)
		out := c.ok("events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "type=network",
			"--format", `{{.Actor.Attributes.container}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}`)
		for _, id := range ids {
			var got []string
			for line := range strings.Lines(out) {
				if about, ok := strings.CutPrefix(strings.TrimSpace(line), id+" "); ok {
					got = append(got, about)
				}
			}
			equal(t, "events of "+id, strings.Join(got, ","), want[id])
		}
		c.ok(append([]string{"rm"}, ids...)...)
	})
}
