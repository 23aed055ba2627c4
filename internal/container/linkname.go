package container

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// A link gives a container one more name: /OWNER/ALIAS, with the name of the
// container that has the link.

// names gives the names of a container: its own and those of links to it, in
// Docker's order.
func names(r *record, links map[string][]string) []string {
	all := append([]string{"/" + r.Name}, links[r.ID]...)
	slices.Sort(all)
	return all
}

// linkNames gives the names that links give containers, by ID.
func (s *Service) linkNames() map[string][]string {
	all := map[string][]string{}
	for _, c := range s.all() {
		for r, i := c.view(), 0; i < len(r.Links); i++ {
			l := r.Links[i]
			all[l.Target] = append(all[l.Target], "/"+r.Name+"/"+l.Alias)
		}
	}
	return all
}

// cutLink splits the name of a link.
func cutLink(name string) (owner, alias string, ok bool) {
	owner, alias, ok = strings.Cut(strings.TrimPrefix(name, "/"), "/")
	return owner, alias, ok
}

// findLinked finds a container by the name of a link to it; nil if there is none.
func (s *Service) findLinked(name string) *ctr {
	owner, alias, ok := cutLink(name)
	if !ok {
		return nil
	}
	s.mu.RLock()
	c := s.byName[owner]
	s.mu.RUnlock()
	if c == nil {
		return nil
	}
	for _, l := range c.view().Links {
		if l.Alias == alias {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return s.byID[l.Target]
		}
	}
	return nil
}

// Unlink removes a link by its name. The container that has the link forgets
// the address at once and the variables at its next start.
func (s *Service) Unlink(_ context.Context, name string) error {
	target, err := s.find(name)
	if err != nil {
		return err
	}
	if s.findLinked(name) != target {
		return errs.New(errs.Conflict, "Conflict, cannot remove the default link name of the container")
	}
	owner, alias, _ := cutLink(name)
	c, err := s.find(owner)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	r := c.view()
	left := slices.DeleteFunc(slices.Clone(r.Links), func(l link) bool { return l.Alias == alias })
	if len(left) == len(r.Links) {
		return errs.New(errs.NotFound, "No such container: %s", name) // removed meanwhile
	}
	if err := s.update(c, func(r *record) {
		h := *r.Host
		r.Links, h.Links, r.Host = left, nil, &h // inspect makes the list of the links that there are
	}); err != nil {
		return err
	}
	if err := editHosts(s.store.file(r.ID, "hosts"), alias, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// editHosts exchanges a link's line in place: the file is bound into a container.
func editHosts(file, alias, with string) error {
	data, err := readNetworkFile(file)
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == alias {
			line = with
		}
		if b.WriteString(line); b.Len() > maxNetworkFile {
			return errNetworkFileSize
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
