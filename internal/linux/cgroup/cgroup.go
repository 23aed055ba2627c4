// Package cgroup owns a container's control groups: where they are, their
// limits, who is in them, freezing, killing and removal, on cgroup v1, v2 and
// the hybrid of both. The files are read and written here, without a library: see
// ADR 6.
//
// In hybrid mode every container also has a group in the unified hierarchy,
// which has no controllers there but tells when the last process is gone, and
// freezes and kills all at once.
//
// Not here: the format of the runtime specification (package oci translates).
package cgroup

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mountinfo"
)

// Group is a container's control group in every hierarchy. It is a value that
// can be stored as JSON; its methods keep no state and are safe for concurrent
// use.
type Group struct {
	// V1 maps a v1 controller ("memory", "name=systemd") to a directory;
	// controllers mounted together share one.
	V1 map[string]string `json:",omitempty"`
	// Unified is the directory in the unified hierarchy; empty if the machine has none.
	Unified string `json:",omitempty"`
	// Scope is set if the group is made by systemd: see StartScope instead of Create.
	Scope *Scope `json:",omitempty"`
}

// V2 tells whether the machine has the unified hierarchy only.
func (g Group) V2() bool { return len(g.V1) == 0 && g.Unified != "" }

// Empty tells whether the group is in no hierarchy at all, see Permitted.
func (g Group) Empty() bool { return len(g.V1) == 0 && g.Unified == "" }

// hierarchy is one mounted cgroup tree.
type hierarchy struct {
	controllers []string // empty for the unified one
	mount       string
	own         string // this process's path in it
}

const mountRoot = "/sys/fs/cgroup"

// UnifiedOnly tells whether the machine has the unified hierarchy only.
func UnifiedOnly() bool { return isFilesystem(mountRoot, unix.CGROUP2_SUPER_MAGIC) }

var hierarchies = sync.OnceValues(func() ([]hierarchy, error) {
	data, err := fd.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchies: %w", err)
	}
	unifiedOnly := UnifiedOnly()
	return parseHierarchies(string(data), func(controllers []string) string {
		return findMount(controllers, unifiedOnly)
	})
})

// parseHierarchies reads /proc/self/cgroup: "ID:controllers:path" per line.
// Hierarchies that mountOf does not find ("") are left out.
func parseHierarchies(text string, mountOf func(controllers []string) string) ([]hierarchy, error) {
	var all []hierarchy
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("find cgroup hierarchies: odd line %q", line)
		}
		var controllers []string
		if parts[1] != "" {
			controllers = strings.Split(parts[1], ",")
		}
		if dir := mountOf(controllers); dir != "" {
			all = append(all, hierarchy{controllers, dir, parts[2]})
		}
	}
	return all, nil
}

// findMount looks at the usual place first, as the mount table of a busy host
// is long.
func findMount(controllers []string, unifiedOnly bool) string {
	if len(controllers) == 0 {
		if unifiedOnly {
			return mountRoot
		}
		if dir := mountRoot + "/unified"; isFilesystem(dir, unix.CGROUP2_SUPER_MAGIC) {
			return dir
		}
		return findInMountinfo(nil)
	}
	if unifiedOnly {
		return ""
	}
	name := strings.TrimPrefix(strings.Join(controllers, ","), "name=")
	if dir := filepath.Join(mountRoot, name); isFilesystem(dir, unix.CGROUP_SUPER_MAGIC) {
		return dir
	}
	return findInMountinfo(controllers)
}

// findInMountinfo searches the mount table for a v1 hierarchy with the first of
// the controllers, or for the unified one if there are none.
func findInMountinfo(controllers []string) string {
	data, err := fd.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "" // as good as not mounted: nothing could be done with it
	}
	for line := range strings.Lines(string(data)) {
		m, err := mountinfo.Parse(line)
		if err != nil || m.Root != "/" {
			continue
		}
		if len(controllers) == 0 && m.Kind == "cgroup2" {
			return m.Place
		}
		if len(controllers) > 0 && m.Kind == "cgroup" {
			for _, option := range strings.Split(m.Options, ",") {
				if option == controllers[0] {
					return m.Place
				}
			}
		}
	}
	return ""
}

func isFilesystem(dir string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == magic
}

// Locate tells where the group of a container is. An absolute path counts from
// each hierarchy's root, a relative one from this process's own group; an empty
// path means id. Nothing is created.
func Locate(path, id string) (Group, error) {
	if path == "" {
		path = id
	}
	if strings.Contains("/"+path+"/", "/../") {
		return Group{}, errs.New(errs.InvalidArgument, "cgroup path %q: must not contain ..", path)
	}
	all, err := hierarchies()
	if err != nil {
		return Group{}, err
	}
	return locate(all, path)
}

func locate(all []hierarchy, path string) (Group, error) {
	g := Group{V1: map[string]string{}}
	v1 := false
	for _, h := range all {
		v1 = v1 || len(h.controllers) > 0
	}
	for _, h := range all {
		dir := filepath.Join(h.mount, path)
		if !filepath.IsAbs(path) {
			own := h.own
			if !v1 {
				// A v2 group with processes in it cannot delegate controllers,
				// so the container becomes a sibling, not a child.
				own = filepath.Dir(own)
			}
			dir = filepath.Join(h.mount, own, path)
		}
		if dir == h.mount {
			return Group{}, errs.New(errs.InvalidArgument, "cgroup path %q: must not be the root", path)
		}
		if len(h.controllers) == 0 {
			g.Unified = dir
		}
		for _, c := range h.controllers {
			g.V1[c] = dir
		}
	}
	if len(all) == 0 {
		return Group{}, errs.New(errs.Unsupported, "no cgroup hierarchy is mounted")
	}
	return g, nil
}

// Paths are the group's paths from the root of each hierarchy, by controller; that
// of the unified one is under "".
func (g Group) Paths() map[string]string {
	all, err := hierarchies()
	if err != nil {
		return nil // then there is no group either
	}
	paths := map[string]string{}
	for _, h := range all {
		if len(h.controllers) == 0 && g.Unified != "" {
			paths[""] = strings.TrimPrefix(g.Unified, h.mount)
		}
		for _, c := range h.controllers {
			if dir, ok := g.V1[c]; ok {
				paths[c] = strings.TrimPrefix(dir, h.mount)
			}
		}
	}
	return paths
}

// Freezer is the directory by which the group is frozen.
func (g Group) Freezer() string {
	if dir, ok := g.V1["freezer"]; ok {
		return dir
	}
	return g.Unified
}

// dirs lists the directories, each once, in no particular order.
func (g Group) dirs() []string {
	seen := map[string]bool{}
	var all []string
	for _, dir := range g.V1 {
		if !seen[dir] {
			seen[dir] = true
			all = append(all, dir)
		}
	}
	if g.Unified != "" {
		all = append(all, g.Unified)
	}
	return all
}
