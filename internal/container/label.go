package container

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/relabel"
)

// labels are the SELinux contexts of a container: of its processes, and of the
// files that only they can use. Both are empty where SELinux is not in use; that of
// processes also is for containers without a label, whose files nobody else gets.
type labels struct {
	Process, Mount string
}

// newLabels makes the contexts of a new container, with categories that no other
// has unless options (of --security-opt label=) say so. releaseLabels gives them back.
func (s *Service) newLabels(options []string) (l labels, err error) {
	if !s.Defaults.SELinux {
		return l, nil
	}
	if l.Process, l.Mount, err = label.InitLabels(options); err != nil {
		return l, errs.Wrap(errs.InvalidArgument, err)
	}
	return l, nil
}

// reserveLabels keeps the categories of a container from others.
func (s *Service) reserveLabels(l labels) {
	if s.Defaults.SELinux && l.Process != "" {
		_ = selinux.ReserveLabelV2(l.Process) // several may share them
	}
}

func (s *Service) releaseLabels(l labels) {
	if s.Defaults.SELinux && l.Process != "" {
		selinux.ReleaseLabel(l.Process)
	}
}

// labelOptions are the options that follow from others of a container, as in
// Docker: no context fits one that sees the host's processes, and those that share
// processes or memory share the context.
func (s *Service) labelOptions(h *container.HostConfig) ([]string, error) {
	if slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "label=") }) {
		return nil, nil // the caller knows better
	}
	if h.IpcMode.IsHost() || h.PidMode.IsHost() || h.Privileged {
		return []string{"label=disable"}, nil
	}
	var shared []string
	for _, ref := range []string{h.IpcMode.Container(), h.PidMode.Container()} {
		if ref == "" || !s.Defaults.SELinux {
			continue
		}
		c, err := s.find(ref)
		if err != nil {
			return nil, badReference(err)
		}
		options, err := selinux.DupSecOpt(c.view().Labels.Process)
		if err != nil {
			return nil, err
		}
		for i := range options {
			options[i] = "label=" + options[i]
		}
		if shared != nil && !slices.Equal(shared, options) {
			return nil, errs.New(errs.InvalidArgument, "--ipc and --pid containers SELinux labels aren't the same")
		}
		shared = options
	}
	return shared, nil
}

// relabel gives the container the files that are its own, and the mounts that the
// user says are: for it alone with Z, for all containers with z.
func (s *Service) relabel(r *record) error {
	l := s.labelsOf(r)
	if l.Mount == "" {
		return nil
	}
	for _, name := range []string{"resolv.conf", "hostname", "hosts"} {
		if err := relabel.Tree(s.store.file(r.ID, name), l.Mount); err != nil {
			return err
		}
	}
	for _, m := range r.Mounts {
		if m.Type != mount.TypeBind && m.Type != mount.TypeVolume || !label.RelabelNeeded(relabelMode(m.Mode)) {
			continue
		}
		to := l.Mount
		if label.IsShared(relabelMode(m.Mode)) {
			con, err := selinux.NewContext(to)
			if err != nil {
				return err
			}
			con["level"] = "s0"
			to = con.Get()
		}
		if err := relabel.Tree(m.Source, to); err != nil {
			return errs.New(errs.KindOf(err), "error setting label on mount source '%s': %w", m.Source, err)
		}
	}
	return nil
}

// relabelMode keeps of a mode such as "ro,Z" or "nocopy,z" what is about labels:
// the library looks for the letters anywhere.
func relabelMode(mode string) string {
	for option := range strings.SplitSeq(mode, ",") {
		if option == "z" || option == "Z" {
			return option
		}
	}
	return ""
}

// labelsOf are the contexts that a run of the container has.
func (s *Service) labelsOf(r *record) labels {
	if !s.Defaults.SELinux {
		return labels{} // the daemon had it on when the container was created
	}
	l := r.Labels
	if r.Host.Privileged {
		l.Process = ""
	}
	return l
}
