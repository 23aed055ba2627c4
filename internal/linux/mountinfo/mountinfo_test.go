package mountinfo

import (
	"os"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]Entry{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue": {36, 35, "/mnt1", "/mnt2", "ext3", "rw,errors=continue"},
		`7 1 0:5 / /a\040b\134c\0402\04 rw - tmpfs tmpfs rw` + "\n":                      {7, 1, "/", `/a b\c 2\04`, "tmpfs", "rw"},
		"8 1 0:6 / /x rw - cgroup cgroup rw,cpu,cpuacct":                                 {8, 1, "/", "/x", "cgroup", "rw,cpu,cpuacct"},
	} {
		if got, err := Parse(line); got != want || err != nil {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "1 2 3", "1 2 0:1 / /x rw", "x 2 0:1 / /x rw - tmpfs tmpfs rw", "1 -2 0:1 / /x rw - tmpfs tmpfs rw", "1 2 0:1 / /x rw - tmpfs"} {
		if got, err := Parse(line); err == nil {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// TestParseOwn: whatever is mounted here can be read.
func TestParseOwn(t *testing.T) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if e, err := Parse(line); err != nil || !strings.HasPrefix(e.Place, "/") {
			t.Errorf("%s: %+v, %v", line, e, err)
		}
	}
}
