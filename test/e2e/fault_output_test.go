package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peakMemory gives the largest resident memory that a process has had, in kB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMillionLines: a container that writes as fast as it can has every line in
// its log, in order.
func TestMillionLines(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	c := one(t, world.engine)
	name := c.container()
	start := time.Now()
	c.ok("run", "-d", "--name", name, "--log-opt", "max-size=1g", "busybox", "seq", "1000000")
	equal(t, "exit code", c.ok("wait", name), "0")
	t.Logf("a million lines took %s", time.Since(start))
	sequence(t, c.ok("logs", name), "", 1000000)
}

// TestLineOf100MB goes through the engine in pieces: neither process holds it.
func TestLineOf100MB(t *testing.T) {
	needEngine(t, gantryEngine)
	t.Parallel()
	e := own(t, engineOptions{})
	c := one(t, e)
	c.ok("run", "-d", "--name", "line", "--log-opt", "max-size=1g", "busybox", "sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end")
	equal(t, "exit code", c.ok("wait", "line"), "0")
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := c.cmd(ctx, "logs", "line")
	var sum counter
	cmd.Stdout = &sum
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if want := (counter{x: 100000000, other: []byte("\nend\n")}); sum.x != want.x || !bytes.Equal(sum.other, want.other) {
		t.Errorf("%d times x, then %q", sum.x, tail(string(sum.other)))
	}
	equal(t, "tail", c.ok("logs", "--tail", "1", "line"), "end")
	for who, pid := range map[string]int{"supervisor": e.supervisor(), "daemon": e.cmd.Process.Pid} {
		if kb := peakMemory(t, pid); kb > 80<<10 {
			t.Errorf("the %s had %d kB", who, kb)
		}
	}
	// As Docker does, the log has pieces of 16 KiB.
	log := c.ok("inspect", "-f", "{{.LogPath}}", "line")
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 16<<10+len(`{"log":"`))
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, len(`","stream"`))
	if _, err := io.ReadFull(f, rest); err != nil || string(rest) != `","stream"` {
		t.Errorf("the first entry goes on with %q, %v", rest, err)
	}
	c.ok("rm", "line")
}

// counter counts the byte x and keeps the others.
type counter struct {
	x     int
	other []byte
}

func (c *counter) Write(p []byte) (int, error) {
	n := bytes.Count(p, []byte("x"))
	c.x += n
	if n < len(p) {
		c.other = append(c.other, bytes.ReplaceAll(p, []byte("x"), nil)...)
	}
	return len(p), nil
}

// TestLogsOfBinaryOutput: JSON cannot hold bytes that are no UTF-8. The log has
// U+FFFD for each as Docker's has, and is no shorter and no longer.
func TestLogsOfBinaryOutput(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		got := c.do("run", "--name", name, "probe", "probe", "bytes", "200000").stdout
		log := c.do("logs", name).stdout
		equal(t, "characters", strconv.Itoa(len([]rune(log))), strconv.Itoa(len([]rune(got))))
		equal(t, "what is text", strings.ReplaceAll(log, "\uFFFD", ""), strings.ToValidUTF8(got, ""))
	})
}
