package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlowClient stops reading when its container has just ended. Log and exit
// code are there, the container can be removed, and the client gets everything.
func TestSlowClient(t *testing.T) {
	needEngine(t, gantryEngine)
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		ctx, cancel := context.WithTimeout(t.Context(), 2*commandTimeout)
		defer cancel()
		cmd := c.cmd(ctx, "run", "--name", name, "busybox", "seq", "300000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c.untilState(name, "running")
		pid, err := strconv.Atoi(c.ok("inspect", "-f", "{{.State.Pid}}", name))
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for unix.Kill(pid, 0) == nil {
			_, err := io.CopyN(&got, out, 4<<10)
			if errors.Is(err, io.EOF) {
				break // on a busy machine it may take the client's time to end
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", got.Len(), err)
			}
			time.Sleep(2 * time.Millisecond)
		}
		equal(t, "exit code", c.ok("wait", name), "0")
		sequence(t, c.ok("logs", name), "", 300000)
		c.ok("rm", name)
		if _, err := io.Copy(&got, out); err != nil {
			t.Error(err)
		}
		sequence(t, strings.TrimSuffix(got.String(), "\n"), "", 300000)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestClientThatDiesBeforeTheStart has attached and never started: the next one
// finds the container's stdin open.
func TestClientThatDiesBeforeTheStart(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("create", "--name", name, "-i", "busybox", "sh", "-c", "cat; exit 3")
		conn, err := net.Dial("unix", c.e.sock)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST /containers/%s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", name)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("attach: %v, %v", resp, err)
		}
		_ = conn.Close()
		p := c.start("start", "-ai", name)
		for _, text := range []string{"one\n", "two\n"} {
			p.send(text)
			p.expect(text)
		}
		_ = p.stdin.Close()
		if code := p.wait(); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
	})
}
