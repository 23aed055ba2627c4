// Package mountinfo reads lines of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
// Where the file comes from is its callers' affair.
package mountinfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Entry is a mount.
type Entry struct {
	ID, Parent uint64
	Root       string // the directory of the filesystem that is mounted
	Place      string // where, from the reader's root
	Kind       string // of filesystem
	Options    string // of the superblock
}

// Parse reads one line.
func Parse(line string) (Entry, error) {
	mount, filesystem, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(mount), strings.Fields(filesystem)
	if !ok || len(left) < 6 || len(right) < 3 {
		return Entry{}, errors.New("list mounts: a line is too short")
	}
	id, err := strconv.ParseUint(left[0], 10, 64)
	parent, perr := strconv.ParseUint(left[1], 10, 64)
	if err != nil || perr != nil {
		return Entry{}, fmt.Errorf("list mounts: %q is no number", left[:2])
	}
	return Entry{id, parent, unescape(left[3]), unescape(left[4]), right[0], right[2]}, nil
}

// unescape undoes the octal numbers that stand for blanks.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
