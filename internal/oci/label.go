package oci

import (
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// checkLabel refuses a SELinux context of a process where nothing would hold it to
// that. An AppArmor profile needs no such check: the kernel refuses its name.
func checkLabel(label string) error {
	if label != "" && !selinuxOn() {
		return errs.New(errs.Unsupported, "selinux label is specified in config, but selinux is disabled or not supported")
	}
	return nil
}

// selinuxOn tells whether SELinux is on. Where /sys/fs/selinux is missing or
// read-only, as in containers, it is not this machine's to use.
func selinuxOn() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &st) == nil && st.Type == unix.SELINUX_MAGIC && st.Flags&unix.ST_RDONLY == 0
}
