package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// makeV2 makes the directory in the unified hierarchy, with those above it, which
// hand down all controllers that there are. The group itself is the first, so that
// nothing has been changed if it is another's.
func (m *maker) makeV2(r *Resources) error {
	root, err := unifiedMount()
	if err != nil {
		return err
	}
	group := m.group.Unified
	below, ok := strings.CutPrefix(group, root+"/")
	if !ok {
		return fmt.Errorf("%s is not below %s", group, root)
	}
	data, err := fd.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	controllers := strings.Fields(string(data))
	err = m.leaf(group)
	there := err == nil
	if !there && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	handDown(root, controllers)
	dir := root
	for name := range strings.SplitSeq(below, "/") {
		dir = filepath.Join(dir, name)
		if err := m.part(dir, there); err != nil {
			return err
		}
		if err := checkKind(dir, r); err != nil {
			return err
		}
		if dir != group {
			handDown(dir, controllers)
		}
	}
	return nil
}

// part makes a directory on the way to the group, or the group's. there tells that
// all of them are there.
func (m *maker) part(dir string, there bool) error {
	if there {
		return nil
	}
	if dir == m.group.Unified {
		return m.leaf(dir)
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		m.made = append(m.made, dir)
	}
	return err
}

// unifiedMount is where the unified hierarchy is.
func unifiedMount() (string, error) {
	all, err := hierarchies()
	if err != nil {
		return "", err
	}
	for _, h := range all {
		if len(h.controllers) == 0 {
			return h.mount, nil
		}
	}
	return "", errors.New("the unified hierarchy is not mounted")
}

// handDown lets groups below dir have controllers. Some may be refused, to users
// or in containers: then it is the limits that cannot be set which tell so.
func handDown(dir string, controllers []string) {
	file := filepath.Join(dir, "cgroup.subtree_control")
	if len(controllers) == 0 || fd.WriteFile(file, "+"+strings.Join(controllers, " +")) == nil {
		return
	}
	for _, c := range controllers {
		_ = fd.WriteFile(file, "+"+c) // one is refused without the others
	}
}

// checkKind sees to it that processes may enter. Below a group with processes of
// its own they may do so in a group of threads only, where most controllers do
// not work.
func checkKind(dir string, r *Resources) error {
	file := filepath.Join(dir, "cgroup.type")
	data, err := fd.ReadFile(file)
	if err != nil {
		return nil // the kernel says what is wrong when somebody enters
	}
	switch kind := strings.TrimSpace(string(data)); {
	case kind == "domain":
	case r.needsDomain():
		return fmt.Errorf("cannot use %s with limits of memory, CPU or devices: it is in mode %q", dir, kind)
	case kind == "domain invalid":
		return fd.WriteFile(file, "threaded")
	}
	return nil
}

// needsDomain tells whether there are limits that a group of threads cannot have.
func (r *Resources) needsDomain() bool {
	memory := r.MemoryReservation != 0 || r.Memory != 0 || r.MemorySwap != 0
	io := r.BlkioWeight != 0 || len(r.BlkioWeightDevice)+len(r.BlkioThrottleReadBpsDevice)+len(r.BlkioThrottleWriteBpsDevice)+
		len(r.BlkioThrottleReadIOPSDevice)+len(r.BlkioThrottleWriteIOPSDevice) > 0
	cpu := r.CpuWeight != 0 || r.CpuQuota != 0 || r.CpuPeriod != 0 || r.CPUIdle != nil || r.CpuBurst != nil
	return memory || io || cpu || len(r.HugetlbLimit) > 0
}
