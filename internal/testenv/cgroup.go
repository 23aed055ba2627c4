package testenv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Cgroups gives a gate for the cgroups below path (such as "/name") in every
// mounted hierarchy.
func Cgroups(path string) Gate {
	return Gate{"cgroups", func() ([]string, error) {
		roots, err := cgroupMounts()
		if err != nil {
			return nil, err
		}
		var all []string
		for _, root := range roots {
			top := filepath.Join(root, path)
			err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
				if errors.Is(err, fs.ErrNotExist) {
					return nil // removed meanwhile
				}
				if err == nil && d.IsDir() && p != top {
					all = append(all, p)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return all, nil
	}}
}

// RemoveCgroups removes the cgroups at and below path in every hierarchy,
// deepest first. Busy ones are reported.
func RemoveCgroups(path string) error {
	all, err := Cgroups(path).List()
	if err != nil {
		return err
	}
	roots, err := cgroupMounts()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	for _, r := range roots {
		all = append(all, filepath.Join(r, path))
	}
	var errs error
	for _, dir := range all {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

func cgroupMounts() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		pre, post, ok := strings.Cut(line, " - ")
		if ok && (strings.HasPrefix(post, "cgroup ") || strings.HasPrefix(post, "cgroup2 ")) {
			if at := strings.Fields(pre)[4]; strings.HasPrefix(at, "/sys/fs/cgroup") && !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
	}
	return all, nil
}
