package oci

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/ns"
)

// An ordinary user's container may have neither a cgroup nor a PID namespace of its own:
// nothing but init is known to belong to it then.
func TestKillWithoutCgroup(t *testing.T) {
	cmd := exec.Command("sleep", "86400")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	proc, err := ns.Stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{id: "c", rt: newRuntime(t), dir: t.TempDir(), state: record{ID: "c", Pid: cmd.Process.Pid, StartTime: proc.StartTime, SharedPIDs: true}}
	if err := c.Signal(t.Context(), unix.SIGKILL, false); err != nil {
		_ = cmd.Process.Kill()
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}
