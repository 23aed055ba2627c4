package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

const journald = "/lib/systemd/systemd-journald"

// startJournal runs a journal of the suite's own: its directories are hidden
// behind others, in the mount namespace that the daemons share.
func startJournal(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool(journald), testenv.Tool("journalctl"))
	for _, dir := range []string{"/run/systemd", "/run/log"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
	}
	for _, dir := range []string{"/run/systemd/journal", "/run/log/journal"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(journald)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // how it ends is its affair
	})
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
			return
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatal("the journal does not listen")
		}
	}
}

// journalEntry is what a container's line is in the journal.
type journalEntry struct {
	Message  string `json:"MESSAGE"`
	Priority string `json:"PRIORITY"`
	ID       string `json:"CONTAINER_ID"`
	Tag      string `json:"SYSLOG_IDENTIFIER"`
	Image    string `json:"IMAGE_NAME"`
	Colour   string `json:"COLOUR"`
}

// TestLogDriverJournald: a real journal takes the lines, and what came before it
// was there.
func TestLogDriverJournald(t *testing.T) {
	needEngine(t, gantryEngine) // Docker's refuses to start a container without a journal
	c := one(t, world.engine)
	box := c.container()
	c.ok("run", "--name", box, "--log-driver", "journald", "--log-opt", "tag={{.Name}}", "--log-opt", "labels=colour", "--label", "colour=blue",
		"busybox", "sh", "-c", "echo to out; sleep 0.1; echo to err >&2; sleep 0.1; echo ü; sleep 0.1; echo end")
	startJournal(t)
	var got []journalEntry
	for begin := time.Now(); len(got) < 4; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("journalctl", "-o", "json", "--no-pager", "CONTAINER_NAME="+box).Output()
		if err != nil && len(out) > 0 {
			t.Fatal(err)
		}
		got = nil
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			var e journalEntry
			if json.Unmarshal([]byte(line), &e) == nil {
				got = append(got, e)
			}
		}
		if time.Since(begin) > 60*time.Second {
			t.Fatalf("%d entries have arrived: %+v", len(got), got)
		}
	}
	id := short(c.ok("inspect", "-f", "{{.Id}}", box))
	for i, want := range []journalEntry{{"to out", "6", "", "", "", ""}, {"to err", "3", "", "", "", ""}, {"ü", "6", "", "", "", ""}, {"end", "6", "", "", "", ""}} {
		want.ID, want.Tag, want.Image, want.Colour = id, box, "busybox", "blue"
		if got[i] != want {
			t.Errorf("entry %d: %+v, want %+v", i, got[i], want)
		}
	}
}
