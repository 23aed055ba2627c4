package oci

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/userns"
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

// joinOwner replaces a new user namespace by the one that the network namespace
// belongs to, if that is not ours: then init will have its capabilities there.
func (job *creation) joinOwner(j *joined) error {
	if job.options.Netns == nil || job.namespaces.Clone&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	owner, err := userns.Owner(job.options.Netns)
	if owner == nil || err != nil {
		return err
	}
	defer owner.Close() //nolint:errcheck // only a handle
	h, err := fd.Duplicate(int(owner.Fd()))
	if err != nil {
		return err
	}
	kind, _ := ns.KindOf("user")
	j.fds, j.kinds = append([]int{h}, j.fds...), append([]ns.Kind{kind}, j.kinds...) // as ns.Kinds has it, first
	job.namespaces.Clone &^= unix.CLONE_NEWUSER
	return nil
}

// keepOurs refuses changes (see plan.Changes) of a namespace that is joined and
// turns out to be our own.
func (j *joined) keepOurs(changes map[string]string) error {
	for name, what := range changes {
		kind, _ := ns.KindOf(name)
		h := j.of(kind.Clone)
		if h < 0 {
			continue
		}
		var theirs, ours unix.Stat_t
		err := unix.Fstat(h, &theirs)
		if err == nil {
			err = unix.Stat("/proc/self/ns/"+kind.File, &ours)
		}
		if err != nil {
			return fmt.Errorf("compare %s namespaces: %w", name, err)
		}
		if theirs.Dev == ours.Dev && theirs.Ino == ours.Ino {
			return errs.New(errs.InvalidArgument, "%s is not allowed in the hosts %s namespace", what, name)
		}
	}
	return nil
}

// enter makes the calling thread a member of all, those of the kinds in but
// (CLONE_NEW*) excepted. The mount namespace is always left to the init, which
// needs things from outside until it joins.
func (j *joined) enter(but int) error {
	for i, h := range j.fds {
		if j.kinds[i].Clone&(but|unix.CLONE_NEWNS) != 0 {
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

// inMounts runs f in the mount namespace that is joined, or else where we are.
func (j *joined) inMounts(f func() error) error {
	mnt := j.of(unix.CLONE_NEWNS)
	if mnt < 0 {
		return f()
	}
	return ns.OnThread(func() error {
		if err := ns.Join(mnt, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join mount namespace: %w", err)
		}
		return f()
	})
}

// forChild are the kinds (CLONE_NEW*) among them that the child joins by itself:
// user and time namespaces are for processes with one thread. If there is a user
// namespace, the child that joins is not init but init's parent (see ns.Joiner), so
// that it can join the PID namespace too; and an ordinary user takes
// the user namespace to have the right to join the others.
func (j *joined) forChild() int {
	all := 0
	for _, kind := range j.kinds {
		all |= kind.Clone &^ unix.CLONE_NEWNS // see enter
	}
	switch {
	case all&unix.CLONE_NEWUSER == 0:
		return all & unix.CLONE_NEWTIME
	case !mayMount():
		return all
	}
	return all & (unix.CLONE_NEWUSER | unix.CLONE_NEWTIME | unix.CLONE_NEWPID)
}

// members lists those of the given kinds in the order in which a child joins them:
// root gives its rights over the others up in a user namespace.
func (j *joined) members(kinds int) (list []ns.Membership) {
	for i, h := range j.fds {
		if kind := j.kinds[i].Clone; kinds&kind != 0 {
			list = append(list, ns.Membership{FD: h, Kinds: kind})
		}
	}
	if len(list) > 0 && list[0].Kinds == unix.CLONE_NEWUSER && mayMount() {
		list = append(list[1:], list[0])
	}
	return list
}

// checkMapping compares the mappings of the user namespace that a process is in
// with those that its container is said to have, if it is said.
func checkMapping(pid int, linux *specs.Linux) error {
	for file, want := range map[string][]specs.LinuxIDMapping{"uid_map": linux.UIDMappings, "gid_map": linux.GIDMappings} {
		if len(want) == 0 {
			continue
		}
		text, err := fd.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			return fmt.Errorf("read mapping of user namespace: %w", err)
		}
		var has, wanted []string // "{inside outside length}"
		for line := range strings.Lines(string(text)) {
			has = append(has, "{"+strings.Join(strings.Fields(line), " ")+"}")
		}
		for _, m := range want {
			wanted = append(wanted, fmt.Sprintf("{%d %d %d}", m.ContainerID, m.HostID, m.Size))
		}
		slices.Sort(has)
		slices.Sort(wanted)
		if !slices.Equal(has, wanted) {
			return errs.New(errs.InvalidArgument, "the user namespace to join has the %s %v, not %v", file, has, wanted)
		}
	}
	return nil
}

// of is the namespace of a kind (CLONE_NEW*) among them, -1 if there is none; it
// stays j's.
func (j *joined) of(kind int) int {
	for i, h := range j.fds {
		if j.kinds[i].Clone == kind {
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
