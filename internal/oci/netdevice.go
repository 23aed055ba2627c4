package oci

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/netdevice"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// moveDevices gives network devices of the machine to the container of a process
// that waits for its orders. Nobody takes them back: when the container's network
// namespace ends, the kernel moves hardware to the machine's and destroys the rest.
func (job *creation) moveDevices(pid int) error {
	if job.spec.Linux == nil || len(job.spec.Linux.NetDevices) == 0 {
		return nil
	}
	devices, err := plan.NetDevices(job.spec.Linux.NetDevices)
	if err != nil {
		return err
	}
	for _, d := range devices { // before any is moved: one that is virtual would not come back
		if err := netdevice.Find(d.Name); err != nil {
			return err
		}
	}
	network, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer fd.Close(network)
	for _, d := range devices {
		if err := netdevice.Move(d.Name, d.As, network); err != nil {
			return err
		}
	}
	return nil
}
