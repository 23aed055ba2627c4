package ns

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is a sort of namespace.
type Kind struct {
	Name  string // the runtime-spec's name
	File  string // the name under /proc/PID/ns
	Clone int    // CLONE_NEW*
}

// Kinds in the order in which they are to be joined: the user namespace first,
// as it gives the right to join the others; the mount namespace last, as it
// hides the paths of all.
var Kinds = []Kind{
	{"user", "user", unix.CLONE_NEWUSER},
	{"ipc", "ipc", unix.CLONE_NEWIPC},
	{"uts", "uts", unix.CLONE_NEWUTS},
	{"network", "net", unix.CLONE_NEWNET},
	{"pid", "pid", unix.CLONE_NEWPID},
	{"cgroup", "cgroup", unix.CLONE_NEWCGROUP},
	{"time", "time", unix.CLONE_NEWTIME},
	{"mount", "mnt", unix.CLONE_NEWNS},
}

// KindOf finds a kind by the runtime-spec's name.
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Shared tells which namespaces (CLONE_NEW*) the calling process has in common
// with another.
func Shared(pid int) (kinds int, err error) {
	for _, k := range Kinds {
		var ours, theirs unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+k.File, &ours); err != nil {
			return 0, fmt.Errorf("find %s namespace: %w", k.Name, err)
		}
		file := fmt.Sprintf("/proc/%d/ns/%s", pid, k.File)
		if err := unix.Stat(file, &theirs); err != nil {
			return 0, fmt.Errorf("find %s namespace of process %d: %w", k.Name, pid, err)
		}
		if ours.Dev == theirs.Dev && ours.Ino == theirs.Ino {
			kinds |= k.Clone
		}
	}
	return kinds, nil
}
