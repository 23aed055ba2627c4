package ns

import (
	"fmt"
	"os"

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
