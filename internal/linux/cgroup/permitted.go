package cgroup

import (
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"
)

// Permitted is the group in those hierarchies only in which this user may make
// it, and makes it there, as Create does. An ordinary user may do so where a part of
// a hierarchy has been delegated to him, which can be nowhere: then the result is
// empty. Undo with Remove.
func (g Group) Permitted(r *Resources) (Group, error) {
	if g.V2() {
		err := g.Create(r)
		if forbidden(err) {
			return Group{}, nil
		}
		return g, err
	}
	may := Group{V1: maps.Clone(g.V1), Unified: g.Unified}
	m := maker{group: g}
	for _, dir := range g.dirs() {
		err := m.dir(dir)
		if err == nil && dir == g.V1["cpuset"] {
			err = initCpuset(dir)
		}
		if err != nil && !forbidden(err) {
			return Group{}, fmt.Errorf("create cgroup: %w", errors.Join(err, m.undo()))
		}
		if err == nil {
			continue
		}
		maps.DeleteFunc(may.V1, func(_, d string) bool { return d == dir })
		if dir == may.Unified {
			may.Unified = ""
		}
	}
	return may, nil
}

func forbidden(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}
