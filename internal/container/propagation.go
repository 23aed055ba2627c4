package container

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/mountinfo"

	"github.com/gantry-run/gantry/internal/errs"
)

// planPropagation fills in what binds without a propagation get. One that shows
// the daemon's own files follows the host: if it kept copies of the mounts of
// other containers, those could not be removed. Docker has the same rule.
func planPropagation(ms []mountPoint, dataRoot string) error {
	for i := range ms {
		m := &ms[i]
		if m.Type != mount.TypeBind {
			continue
		}
		shows := related(m.Source, dataRoot)
		switch {
		case m.Propagation == "" && shows:
			m.Propagation = mount.PropagationRSlave
		case m.Propagation == "":
			m.Propagation = mount.PropagationRPrivate
		case shows && m.Propagation != mount.PropagationRSlave && m.Propagation != mount.PropagationRShared:
			return errs.New(errs.InvalidArgument, "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: %q, bind mount source: %q, propagation: %q", dataRoot, m.Source, m.Propagation)
		}
	}
	return nil
}

// related tells whether one of two clean paths lies in the other.
func related(a, b string) bool {
	within := func(p, dir string) bool {
		return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
	}
	return a != "" && b != "" && (within(a, b) || within(b, a))
}

// checkPropagation refuses binds that ask to share mounts with a mount of the host
// that shares none: they would silently be private.
func checkPropagation(ms []mountPoint, dataRoot string) error {
	var host []*mountinfo.Info
	for _, m := range ms {
		kinds := sharing(m)
		if m.Type != mount.TypeBind || kinds == nil || kinds[0] == "master:" && related(m.Source, dataRoot) {
			continue
		}
		if host == nil {
			var err error
			if host, err = mountinfo.GetMounts(nil); err != nil {
				return fmt.Errorf("read mounts of the host: %w", err)
			}
		}
		at := mountOf(m.Source, host)
		if at == nil || slices.ContainsFunc(kinds, func(k string) bool { return strings.Contains(at.Optional, k) }) {
			continue
		}
		what := "a shared"
		if kinds[0] == "master:" {
			what = "a shared or slave"
		}
		return errs.New(errs.Internal, "path %s is mounted on %s but it is not %s mount", m.Source, at.Mountpoint, what)
	}
	return nil
}

// sharing gives the marks in mountinfo(5) of which the source of a bind needs one.
func sharing(m mountPoint) []string {
	switch m.Propagation {
	case mount.PropagationShared, mount.PropagationRShared:
		return []string{"shared:"}
	case mount.PropagationSlave, mount.PropagationRSlave:
		return []string{"master:", "shared:"}
	}
	return nil
}

// mountOf gives the mount that a path is on: the latest of those that lie deepest.
func mountOf(path string, host []*mountinfo.Info) *mountinfo.Info {
	var found *mountinfo.Info
	for _, m := range host {
		in := path == m.Mountpoint || strings.HasPrefix(path, strings.TrimSuffix(m.Mountpoint, "/")+"/")
		if in && (found == nil || len(m.Mountpoint) >= len(found.Mountpoint)) {
			found = m
		}
	}
	return found
}
