package oci

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// seccompListener is who answers for the system calls of SCMP_ACT_NOTIFY.
type seccompListener struct {
	Path     string `json:"path"`
	Metadata string `json:"metadata,omitempty"`
}

// notifier gives the function that hands the listener of a process's seccomp
// program to who waits for it. status is the container's at that moment.
func (c *Container) notifier(status specs.ContainerState) func(pid, listener int) error {
	return func(pid, listener int) error {
		to := c.state.Listener
		message, err := json.Marshal(specs.ContainerProcessState{
			Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: to.Metadata, State: c.specState(status),
		})
		if err != nil {
			return fmt.Errorf("encode container process state: %w", err)
		}
		if err := sendFile(to.Path, message, listener); err != nil {
			return fmt.Errorf("send seccomp listener: %w", err)
		}
		return nil
	}
}

// takeListener takes the listener out of init, which has said its number there,
// and hands it on. Init's own ends with its execve.
func (s *spawned) takeListener(number []byte) error {
	if len(number) != 4 {
		return fmt.Errorf("take seccomp listener: %d bytes instead of a descriptor's number", len(number))
	}
	listener, err := unix.PidfdGetfd(s.child.PidFD, int(binary.NativeEndian.Uint32(number)), 0)
	if err != nil {
		return fmt.Errorf("take seccomp listener of process %d: %w", s.child.Pid, err)
	}
	defer fd.Close(listener)
	return s.notify(s.child.Pid, listener)
}
