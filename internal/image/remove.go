package image

import (
	"context"
	"slices"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Tag gives an image one more name, taking it from whatever has it.
func (s *Service) Tag(ctx context.Context, name, target string) error {
	tagged, err := parseTarget(target)
	if err != nil {
		return err
	}
	e, err := s.tag(scoped(ctx), name, tagged)
	if err != nil {
		return err
	}
	s.publish(events.ActionTag, e.id.String(), reference.FamiliarString(tagged), e.config.Config.Labels)
	return nil
}

func (s *Service) tag(ctx context.Context, name string, tagged reference.NamedTagged) (*entry, error) {
	s.records.Lock()
	defer s.records.Unlock()
	e, rec, err := s.find(name)
	if err != nil {
		return nil, err
	}
	desc := e.manifest
	if rec != nil {
		desc = rec.target // an index stays one
	}
	_, err = s.nameLocked(ctx, e.body, naming{tagged, desc})
	return e, err
}

// Remove removes a name, or the image when it was the last one or the image
// was given by its ID.
func (s *Service) Remove(ctx context.Context, name string, opts engine.ImageRemove) ([]imagetypes.DeleteResponse, error) {
	e, _, err := s.find(name)
	if err != nil {
		return nil, err
	}
	users := s.users(e.id)
	ctx = scoped(ctx)
	out, err := s.remove(ctx, name, e.id, users, opts.Force)
	if err != nil {
		return nil, err
	}
	// Names alone may keep content too: an index, or another manifest.
	return out, s.collect(ctx)
}

// remove plans and does a removal in one go, so that no name comes in between.
// users are those of the image id; the name may have moved on since.
func (s *Service) remove(ctx context.Context, name string, id digest.Digest, users []User, force bool) ([]imagetypes.DeleteResponse, error) {
	s.records.Lock()
	defer s.records.Unlock()
	e, rec, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if e.id != id {
		return nil, errs.New(errs.Conflict, "conflict: %s was given to another image meanwhile", name)
	}
	r := &removal{s: s, e: e, users: users, force: force, given: name}
	switch {
	case rec != nil:
		err = r.byName(*rec)
	case r.repositoryRecords() != nil:
		err = r.byName(r.repositoryRecords()...)
	default:
		err = r.byID()
	}
	if err != nil {
		return nil, err
	}
	return r.apply(ctx)
}

// removal plans what a removal does, then does it.
type removal struct {
	s     *Service
	e     *entry
	users []User
	force bool
	given string // what the user wrote

	untag []record
	whole bool  // the image goes too
	freed int64 // bytes of layers that nothing needs any more; known afterwards
}

// byName plans to remove names of one repository. The image stays as long as
// another name or a container holds it.
func (r *removal) byName(recs ...record) error {
	if !r.force && singleReference(r.e.refs) && len(r.users) > 0 {
		return errs.New(errs.Conflict,
			"conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			r.given, short(r.users[0].ID), shortID(r.e.id))
	}
	gone := func(o record) bool {
		return slices.ContainsFunc(recs, func(r record) bool { return r.name.String() == o.name.String() })
	}
	r.untag = slices.Clone(recs)
	left := slices.DeleteFunc(slices.Clone(r.e.refs), gone)
	same := func(o record) bool { return o.name.Name() == recs[0].name.Name() }
	if !recs[0].isDigest() && !slices.ContainsFunc(left, func(o record) bool { return !o.isDigest() && same(o) }) {
		// The last tag of a repository takes the repository's digests along.
		for _, o := range left {
			if same(o) {
				r.untag = append(r.untag, o)
			}
		}
		left = slices.DeleteFunc(left, same)
	}
	if len(left) == 0 {
		// Without names but in use, the image stays, silently, as a dangling one.
		r.whole = r.conflict(!r.force) == nil
	}
	return nil
}

// repositoryRecords are all names in the repository of a name@digest that is
// no name itself; nil if the user wrote something else.
func (r *removal) repositoryRecords() []record {
	named, err := reference.ParseNormalizedNamed(r.given)
	if err != nil {
		return nil
	}
	if _, ok := named.(reference.Digested); !ok {
		return nil
	}
	var all []record
	for _, o := range r.e.refs {
		if o.name.Name() == named.Name() {
			all = append(all, o)
		}
	}
	return all
}

// byID plans to remove an image with all its names.
func (r *removal) byID() error {
	if !r.force && !singleReference(r.e.refs) {
		if err := r.conflict(false); err != nil {
			return err
		}
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", shortID(r.e.id))
	}
	if err := r.conflict(!r.force); err != nil {
		return err
	}
	r.untag, r.whole = r.e.refs, true
	return nil
}

// conflict tells whether a container forbids the removal. Stopped ones count
// only if soft.
func (r *removal) conflict(soft bool) error {
	for _, u := range r.users {
		if u.Running {
			return errs.New(errs.Conflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", shortID(r.e.id), short(u.ID))
		}
	}
	if soft && len(r.users) > 0 {
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", shortID(r.e.id), short(r.users[0].ID))
	}
	return nil
}

func (r *removal) apply(ctx context.Context) ([]imagetypes.DeleteResponse, error) {
	var names []string
	out := []imagetypes.DeleteResponse{}
	for _, u := range r.untag {
		names = append(names, u.name.String())
		out = append(out, imagetypes.DeleteResponse{Untagged: reference.FamiliarString(u.name)})
	}
	if r.whole {
		names = append(names, anchorName(r.e.id))
		out = append(out, imagetypes.DeleteResponse{Deleted: r.e.id.String()})
	}
	if err := r.s.drop(ctx, names...); err != nil {
		return nil, err
	}
	for range r.untag {
		r.s.publish(events.ActionUnTag, r.e.id.String(), r.e.id.String(), r.e.config.Config.Labels)
	}
	if r.whole {
		r.s.publish(events.ActionDelete, r.e.id.String(), r.e.id.String(), r.e.config.Config.Labels)
		for _, l := range r.s.unneeded(r.e) {
			r.freed += l.size
			out = append(out, imagetypes.DeleteResponse{Deleted: l.chainID.String()})
		}
	}
	return out, nil
}

// unneeded gives the layers of a removed image that nothing else stands on,
// topmost first.
func (s *Service) unneeded(gone *entry) []layer {
	needed := map[digest.Digest]bool{}
	for _, e := range s.index.Load().byID {
		for _, l := range e.layers {
			needed[l.chainID] = true
		}
	}
	inUse := s.rootfs.chainsInUse()
	var out []layer
	for _, l := range slices.Backward(gone.layers) {
		if needed[l.chainID] || inUse[l.chainID] {
			break // and so is all below
		}
		out = append(out, l)
	}
	return out
}

// chainsInUse gives the topmost layers under writable ones.
func (r *rootfsStore) chainsInUse() map[digest.Digest]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := map[digest.Digest]bool{}
	for b, h := range r.bases {
		if h.users > 0 {
			used[b.Chain] = true
		}
	}
	return used
}

// singleReference tells whether all names are one tag and its repository's
// digests at most.
func singleReference(refs []record) bool {
	if len(refs) <= 1 {
		return true
	}
	var tag reference.Named
	for _, r := range refs {
		if r.isDigest() {
			continue
		}
		if tag != nil {
			return false
		}
		tag = r.name
	}
	if tag == nil {
		tag = refs[0].name
	}
	return !slices.ContainsFunc(refs, func(r record) bool { return r.name.Name() != tag.Name() })
}

// short cuts a container's ID as Docker prints it.
func short(id string) string { return id[:min(12, len(id))] }
