package oci

import (
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
)

// early is a thread that makes a container's namespaces while the container is
// planned, which takes as long.
type early struct {
	thread *ns.Thread // nil: there is none
	made   uintptr    // CLONE_NEW*
}

// separate begins with the namespaces of a container that needs nothing but new ones.
// A process that makes many containers gets its network namespaces ready made.
func (r *Runtime) separate(o CreateOptions) early {
	if !r.oneShot || r.rootless() || o.Netns != nil || o.Spec == nil || o.Spec.Linux == nil {
		return early{}
	}
	var e early
	for _, n := range o.Spec.Linux.Namespaces {
		kind, ok := ns.KindOf(string(n.Type))
		if !ok || n.Path != "" || kind.Clone&(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) != 0 {
			return early{}
		}
		e.made |= uintptr(kind.Clone) &^ (unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
	}
	if e.made&unix.CLONE_NEWNS == 0 {
		return early{} // a thread is of no use then, see boot.Threadable
	}
	e.thread = ns.Begin(func() error { return boot.Separate(e.made) })
	return e
}
