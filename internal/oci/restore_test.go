package oci

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/ns"
)

// TestRestoreFailsLate ends a process that criu has restored already, and keeps no
// descriptor of it: neither the one from its birth nor the one from before.
func TestRestoreFailsLate(t *testing.T) {
	for _, born := range []bool{true, false} {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		pidfd := func() int {
			h, err := unix.PidfdOpen(p.Pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		v := &revival{process: &Process{}, child: ns.Child{PidFD: -1}, early: ns.Child{Pid: p.Pid, PidFD: pidfd()}}
		handles := []int{v.early.PidFD}
		if born {
			v.child = ns.Child{Pid: p.Pid, PidFD: pidfd()}
			handles = append(handles, v.child.PidFD)
		}
		if err := errors.Join(v.kill(), v.kill()); err != nil {
			t.Error(err)
		}
		for _, h := range handles {
			var st unix.Stat_t
			if err := unix.Fstat(h, &st); !errors.Is(err, unix.EBADF) {
				t.Errorf("born: %t: descriptor %d is open: %v", born, h, err)
				_ = unix.Close(h)
			}
		}
		if err := unix.Kill(p.Pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("born: %t: the process is there: %v", born, err)
		}
	}
}
