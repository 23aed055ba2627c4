package oci

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// joined are namespaces of others that a container's init is born into.
type joined struct {
	fds   []int
	kinds []ns.Kind
	lent  int // a descriptor that is the caller's, -1: none
}

// openNamespaces opens namespaces by kind and path, and checks that each is of
// its kind. netns, if any, is one more.
func openNamespaces(paths map[string]string, netns *os.File) (_ *joined, err error) {
	j := &joined{lent: -1}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	for _, kind := range ns.Kinds {
		if kind.Clone == unix.CLONE_NEWNET && netns != nil {
			j.lent = int(netns.Fd())
			j.fds, j.kinds = append(j.fds, j.lent), append(j.kinds, kind)
			continue
		}
		path, ok := paths[kind.Name]
		if !ok {
			continue
		}
		if kind.Clone == unix.CLONE_NEWUSER || kind.Clone == unix.CLONE_NEWTIME {
			return nil, errs.New(errs.Unsupported, "joining another %s namespace is not supported", kind.Name)
		}
		h, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errs.Wrap(errs.InvalidArgument, fmt.Errorf("open %s namespace %s: %w", kind.Name, path, err))
		}
		j.fds, j.kinds = append(j.fds, h), append(j.kinds, kind)
		if got, err := unix.IoctlRetInt(h, unix.NS_GET_NSTYPE); err != nil || got != kind.Clone {
			return nil, errs.New(errs.InvalidArgument, "%s is not a %s namespace", path, kind.Name)
		}
	}
	return j, nil
}

// enter makes the calling thread a member of all, those of the kinds in but
// (CLONE_NEW*) excepted.
func (j *joined) enter(but int) error {
	for i, h := range j.fds {
		if j.kinds[i].Clone&but != 0 {
			continue
		}
		err := ns.Join(h, j.kinds[i].Clone)
		if errors.Is(err, unix.EINVAL) {
			return errs.New(errs.InvalidArgument, "join %s namespace: %w", j.kinds[i].Name, err)
		}
		if err != nil {
			return fmt.Errorf("join %s namespace: %w", j.kinds[i].Name, err)
		}
	}
	return nil
}

// pid is the PID namespace among them, -1 if there is none; it stays j's.
func (j *joined) pid() int {
	for i, h := range j.fds {
		if j.kinds[i].Clone == unix.CLONE_NEWPID {
			return h
		}
	}
	return -1
}

// Close closes what openNamespaces opened.
func (j *joined) Close() {
	for _, h := range j.fds {
		if h != j.lent {
			fd.Close(h)
		}
	}
	j.fds = nil
}
