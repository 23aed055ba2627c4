package boot

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// procDir is where programs expect procfs: a mount there, or in it, would let them
// believe what somebody else says of the kernel.
const procDir = "/proc"

// procFiles may be mounted over, as in runc: they are what lxcfs replaces.
var procFiles = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
	"/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}

func insideProc(name string) error {
	return errs.New(errs.InvalidArgument, "%q cannot be mounted because it is inside /proc", name)
}

// checkProcName refuses a mount inside of /proc by its name.
func checkProcName(m plan.Mount) error {
	switch {
	case below(m.Target, procDir) && !slices.Contains(procFiles, m.Target):
		return insideProc(m.Target)
	case m.Target == procDir && m.Type != "proc" && !m.Options.Bind && m.FD <= 0:
		return notProc(m.Target)
	}
	return nil
}

// notProc says that only procfs may be mounted on /proc.
func notProc(name string) error {
	return errs.New(errs.InvalidArgument, "%q cannot be mounted because it is not of type proc", name)
}

// checkProcTarget refuses a mount of something else on /proc, and one inside of
// it to which links of the image have led.
func (b *initializer) checkProcTarget(m plan.Mount, source, target int) error {
	if m.Target == procDir {
		if !mount.IsFilesystem(source, unix.PROC_SUPER_MAGIC) {
			return notProc(m.Target)
		}
		return nil
	}
	if !mount.IsFilesystem(target, unix.PROC_SUPER_MAGIC) || slices.Contains(procFiles, m.Target) {
		return nil
	}
	proc, err := b.root.OpenNoLinks(procDir, unix.O_PATH)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer fd.Close(proc)
	there, err := mount.Identify(proc)
	if err != nil {
		return err
	}
	here, err := mount.Identify(target)
	if err != nil {
		return err
	}
	if there.Holds(here) {
		return insideProc(m.Target)
	}
	return nil
}
