package ns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NewTime makes a time namespace for the children of the calling thread, with
// offsets as the file timens_offsets takes them ("boottime 10 0" per line).
func NewTime(offsets string) error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("create time namespace: %w", err)
	}
	if offsets == "" {
		return nil
	}
	// The file is there for processes only, but a thread's id finds it as well.
	file := fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid())
	if err := os.WriteFile(file, []byte(offsets), 0); err != nil {
		return fmt.Errorf("set offsets of time namespace: %w", err)
	}
	return nil
}

// ExecEntersTime tells whether execve enters the time namespace that is there
// for children. Before Linux 6.3 only a fork does.
func ExecEntersTime() (bool, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	first, rest, _ := strings.Cut(release, ".")
	if end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest)
	if err := errors.Join(err1, err2); err != nil {
		return false, fmt.Errorf("read the kernel's release %q: %w", release, err)
	}
	return major > 6 || major == 6 && minor >= 3, nil
}
