package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// Create makes the directories. Ones that exist are taken over. Undo with
// Remove, also after an error.
func (g Group) Create(r *Resources) error {
	if g.V2() {
		if err := g.createV2(r); err != nil {
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
func (g Group) Set(r *Resources) error {
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
func (g Group) write(r *Resources) error {
	write := g.writeV1
	if g.V2() {
		write = g.writeV2
	}
	err := write(r)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return errs.New(errs.InvalidArgument, "set cgroup limits: %w", err)
	}
	if err != nil {
		return fmt.Errorf("set cgroup limits: %w", err)
	}
	return nil
}
