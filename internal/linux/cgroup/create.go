package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	cgroupv1 "github.com/opencontainers/cgroups/fs"
	cgroupv2 "github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// Create makes the directories. Ones that exist are taken over. Undo with
// Remove, also after an error.
func (g Group) Create(r *cgroups.Resources) error {
	if g.V2() {
		if err := cgroupv2.CreateCgroupPath(g.Unified, &cgroups.Cgroup{Resources: r}); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
		return nil
	}
	for _, dir := range g.dirs() {
		if err := makeDir(dir); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
	}
	if dir, ok := g.V1["cpuset"]; ok {
		if err := initCpuset(dir); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
	}
	return nil
}

func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// initCpuset gives dir, and its ancestors first, the CPUs and memory nodes of
// the parent: a v1 cpuset starts with none, and then no task may enter it.
func initCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := inheritCpuset(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func inheritCpuset(dir, name string) (string, error) {
	file := filepath.Join(dir, name)
	data, err := fd.ReadFile(file)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(data))
	if value != "" {
		return value, nil
	}
	if value, err = inheritCpuset(filepath.Dir(dir), name); err != nil {
		return "", err
	}
	return value, fd.WriteFile(file, value)
}

// Set applies limits; fields with zero values stay as they are. Devices are
// not among them, see AllowDevices.
func (g Group) Set(r *cgroups.Resources) error {
	if g.Scope == nil {
		return g.write(r)
	}
	limits := *r
	err := g.Scope.set(func(version int) ([]systemd.Property, error) { return limitProperties(&limits, g.V2(), version) })
	if err != nil {
		return err
	}
	return g.write(&limits)
}

// write writes limits to the group's files.
func (g Group) write(r *cgroups.Resources) error {
	limits := *r
	limits.SkipDevices, limits.Devices = true, nil
	var err error
	if g.V2() {
		var m *cgroupv2.Manager
		if m, err = cgroupv2.NewManager(&cgroups.Cgroup{Resources: &limits}, g.Unified); err == nil {
			err = m.Set(&limits)
		}
	} else {
		var m *cgroupv1.Manager
		if m, err = cgroupv1.NewManager(&cgroups.Cgroup{Resources: &limits}, g.paths()); err == nil {
			err = m.Set(&limits)
		}
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return errs.New(errs.InvalidArgument, "set cgroup limits: %w", err)
	}
	if err != nil {
		return fmt.Errorf("set cgroup limits: %w", err)
	}
	return nil
}

// paths is V1 as the library wants it, to which none would mean the default ones.
func (g Group) paths() map[string]string {
	if g.V1 == nil {
		return map[string]string{}
	}
	return g.V1
}

// Stats reads the statistics of all controllers.
func (g Group) Stats() (*cgroups.Stats, error) {
	r := &cgroups.Resources{SkipDevices: true}
	var stats *cgroups.Stats
	var err error
	if g.V2() {
		var m *cgroupv2.Manager
		if m, err = cgroupv2.NewManager(&cgroups.Cgroup{Resources: r}, g.Unified); err == nil {
			stats, err = m.GetStats()
		}
	} else {
		var m *cgroupv1.Manager
		if m, err = cgroupv1.NewManager(&cgroups.Cgroup{Resources: r}, g.paths()); err == nil {
			stats, err = m.GetStats()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read cgroup statistics: %w", err)
	}
	return stats, nil
}
