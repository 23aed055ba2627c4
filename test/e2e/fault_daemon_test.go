package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// faultStep is how much later each round of a kill test strikes. Verbs take some
// 5 to 50 ms, so that the rounds hit every stage of them.
const faultStep = 5 * time.Millisecond

// brokenVerbs are the verbs that a killed daemon leaves half-done. prepare runs
// before the verb, with the container's name.
var brokenVerbs = []struct {
	name    string
	prepare func(c *cli, name string)
	run     func(ctx context.Context, e *engine, name string) error
}{
	{"create", func(*cli, string) {}, func(ctx context.Context, e *engine, name string) error {
		_, err := e.call(ctx, "POST", "/containers/create?name="+name, "application/json", strings.NewReader(`{"Image":"busybox","Cmd":["sleep","600"],"Volumes":{"/vol":{}}}`))
		return err
	}},
	{"start", created, func(ctx context.Context, e *engine, name string) error {
		return e.post(ctx, "/containers/"+name+"/start")
	}},
	{"stop", started, func(ctx context.Context, e *engine, name string) error {
		return e.post(ctx, "/containers/"+name+"/stop?t=0")
	}},
	{"rm", created, func(ctx context.Context, e *engine, name string) error {
		_, err := e.call(ctx, "DELETE", "/containers/"+name+"?v=1", "", nil)
		return err
	}},
	{"rm -f", started, func(ctx context.Context, e *engine, name string) error {
		_, err := e.call(ctx, "DELETE", "/containers/"+name+"?force=1&v=1", "", nil)
		return err
	}},
	{"exec", started, func(ctx context.Context, e *engine, name string) error {
		out, err := e.call(ctx, "POST", "/containers/"+name+"/exec", "application/json", strings.NewReader(`{"Cmd":["sh","-c","echo x > /x; sleep 600"]}`))
		if err != nil {
			return err
		}
		_, id, _ := strings.Cut(string(out), `"Id":"`)
		id, _, _ = strings.Cut(id, `"`)
		_, err = e.call(ctx, "POST", "/exec/"+id+"/start", "application/json", strings.NewReader(`{"Detach":true}`))
		return err
	}},
	{"commit", func(c *cli, name string) {
		started(c, name)
		c.ok("exec", name, "sh", "-c", "head -c 3000000 /dev/urandom > /noise")
	}, func(ctx context.Context, e *engine, name string) error {
		return e.post(ctx, "/commit?container="+name+"&repo=faulty&tag=x")
	}},
	{"cp out", started, func(ctx context.Context, e *engine, name string) error {
		_, err := e.call(ctx, "GET", "/containers/"+name+"/archive?path=/bin", "", nil)
		return err
	}},
	{"cp in", started, func(ctx context.Context, e *engine, name string) error {
		_, err := e.call(ctx, "PUT", "/containers/"+name+"/archive?path=/tmp", "application/x-tar", noiseArchive(2<<20))
		return err
	}},
}

func created(c *cli, name string) {
	c.ok("create", "--name", name, "-v", "/vol", "-p", "127.0.0.1::80", "busybox", "sleep", "600")
}

func started(c *cli, name string) { created(c, name); c.ok("start", name) }

// post calls an endpoint that needs no body.
func (e *engine) post(ctx context.Context, path string) error {
	_, err := e.call(ctx, "POST", path, "application/json", nil)
	return err
}

// TestKilledDuring kills the daemon at many moments of one verb, one after the
// other. After each restart the daemon and the kernel agree, the verb can be done
// again to its end, and the name can be used; in the end nothing is left.
func TestKilledDuring(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	for _, v := range brokenVerbs {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			e := own(t, engineOptions{})
			c := one(t, e)
			const name = "victim"
			for round := range 6 {
				when := fmt.Sprintf("killed after %s", time.Duration(round)*faultStep)
				v.prepare(c, name)
				e.crashDuring(t, time.Duration(round)*faultStep, func(ctx context.Context) error { return v.run(ctx, e, name) })
				agree(t, e, when)
				c.do("rm", "-f", "-v", name)
				equal(t, when+", then run", c.ok("run", "--rm", "--name", name, "busybox", "echo", "again"), "again")
				c.do("rmi", "-f", "faulty:x")
				if t.Failed() {
					return
				}
			}
			c.ok("volume", "prune", "-f")
			nothingLeft(t, e)
			equal(t, "images", c.ok("images", "-q", "--filter", "dangling=true"), "")
		})
	}
}

// crashDuring kills the daemon some time after verb was called, and starts it again.
func (e *engine) crashDuring(t *testing.T, after time.Duration, verb func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- verb(ctx) }()
	time.Sleep(after)
	e.crash(t)
	<-done // it may have come to its end or not
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
}

// noiseArchive is a tar stream with one file of that size.
func noiseArchive(size int) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "noise", Mode: 0o644, Size: int64(size)}) // a buffer takes everything
	_, _ = w.Write(make([]byte, size))
	_ = w.Close()
	return &b
}
