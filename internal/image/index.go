package image

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// Labels of image records.
const (
	labelImage    = "gantry.run/image"                      // reference records: the image's ID
	labelManifest = "containerd.io/gc.ref.content.manifest" // reference records: keeps the manifest
	labelTagged   = "gantry.run/tagged"                     // anchor records: last time of tagging
)

// record is a name of an image.
type record struct {
	name   reference.Named // with a tag or a digest
	target ocispec.Descriptor
	image  digest.Digest
}

func (r record) isDigest() bool { _, ok := r.name.(reference.Digested); return ok }

// entry is an image with its names. Entries never change.
type entry struct {
	*body
	refs   []record // tags first, each group sorted by name
	tagged time.Time
}

// tags gives the names with tags.
func (e *entry) tags() []record {
	i := slices.IndexFunc(e.refs, record.isDigest)
	if i < 0 {
		return e.refs
	}
	return e.refs[:i]
}

// repoTags and repoDigests are as Docker shows them; never nil.
func (e *entry) repoTags() []string    { return familiar(e.tags()) }
func (e *entry) repoDigests() []string { return familiar(e.refs[len(e.tags()):]) }

func familiar(refs []record) []string {
	out := make([]string, 0, len(refs))
	for _, r := range refs {
		out = append(out, reference.FamiliarString(r.name))
	}
	return out
}

// index is all images and names at one moment.
type index struct {
	byID     map[digest.Digest]*entry
	byName   map[string]record
	byTarget map[digest.Digest]*entry // by manifest or index digest
	ids      []string                 // hexadecimal, sorted
}

// refresh rebuilds the index from the database.
func (s *Service) refresh(ctx context.Context) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	records, err := s.Images.List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	x := &index{byID: map[digest.Digest]*entry{}, byName: map[string]record{}, byTarget: map[digest.Digest]*entry{}}
	bodies := make(map[digest.Digest]*body, len(s.bodies))
	for _, r := range records {
		if strings.HasPrefix(r.Name, anchorPrefix) {
			s.indexAnchor(ctx, x, bodies, r)
		}
	}
	for _, r := range records {
		if !strings.HasPrefix(r.Name, anchorPrefix) {
			s.indexReference(x, r)
		}
	}
	for id, e := range x.byID {
		x.ids = append(x.ids, id.Encoded())
		sort.Slice(e.refs, func(i, j int) bool {
			if a, b := e.refs[i].isDigest(), e.refs[j].isDigest(); a != b {
				return b
			}
			return e.refs[i].name.String() < e.refs[j].name.String()
		})
	}
	sort.Strings(x.ids)
	s.bodies = bodies
	s.index.Store(x)
	return nil
}

// indexAnchor adds an image. One that cannot be read is left out: it can still
// be pulled again.
func (s *Service) indexAnchor(ctx context.Context, x *index, bodies map[digest.Digest]*body, r images.Image) {
	b := s.bodies[r.Target.Digest]
	if b == nil {
		var err error
		if b, err = s.loadBody(ctx, r.Target); err != nil {
			s.log.Warn("skip unreadable image", "name", r.Name, "err", err)
			return
		}
		s.measure(ctx, b)
	}
	if anchorName(b.id) != r.Name {
		s.log.Warn("skip image whose record names another", "name", r.Name, "image", b.id)
		return
	}
	bodies[r.Target.Digest] = b
	e := &entry{body: b}
	if t, err := time.Parse(time.RFC3339Nano, r.Labels[labelTagged]); err == nil {
		e.tagged = t
	}
	x.byID[b.id] = e
	x.byTarget[r.Target.Digest] = e
}

func (s *Service) indexReference(x *index, r images.Image) {
	named, err := reference.ParseNormalizedNamed(r.Name)
	if err != nil {
		s.log.Warn("skip malformed image name", "name", r.Name, "err", err)
		return
	}
	rec := record{name: named, target: r.Target, image: digest.Digest(r.Labels[labelImage])}
	e := x.byID[rec.image]
	if e == nil {
		s.log.Warn("skip name of an unknown image", "name", r.Name, "image", rec.image)
		return
	}
	e.refs = append(e.refs, rec)
	x.byName[named.String()] = rec
	x.byTarget[r.Target.Digest] = e
}

// measure sums up the sizes of the layers that are unpacked.
func (s *Service) measure(ctx context.Context, b *body) {
	for i := range b.layers {
		b.layers[i].size = s.layerSize(ctx, b.layers[i].chainID)
		b.size += b.layers[i].size
	}
}

// find resolves what a user wrote: a name, an ID, a prefix of one, or the
// digest of a manifest. rec is the name that led to the image, if one did.
func (x *index) find(ref string) (e *entry, rec *record, err error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return nil, nil, errs.Wrap(errs.InvalidArgument, err)
	}
	named, isNamed := parsed.(reference.Named)
	if !isNamed {
		d, _ := parsed.(reference.Digested)
		if e = x.byID[d.Digest()]; e == nil {
			e = x.byTarget[d.Digest()]
		}
		if e == nil {
			return nil, nil, notFound(ref)
		}
		return e, nil, nil
	}
	if r, ok := x.byName[reference.TagNameOnly(withoutTag(named)).String()]; ok {
		return x.byID[r.image], &r, nil
	}
	if d, ok := named.(reference.Digested); ok {
		if e := x.inRepository(named, d.Digest()); e != nil {
			return e, nil, nil
		}
	}
	if e, err := x.byPrefix(ref); e != nil || err != nil {
		return e, nil, err
	}
	return nil, nil, notFound(ref)
}

// inRepository finds name@digest for images that have a tag of that name and
// whose manifest or config has the digest.
func (x *index) inRepository(named reference.Named, d digest.Digest) *entry {
	e := x.byTarget[d]
	if e == nil {
		e = x.byID[d]
	}
	if e == nil || !slices.ContainsFunc(e.refs, func(r record) bool { return r.name.Name() == named.Name() }) {
		return nil
	}
	return e
}

func (x *index) byPrefix(s string) (*entry, error) {
	hex, ok := idPrefix(s)
	if !ok {
		return nil, nil
	}
	i := sort.SearchStrings(x.ids, hex)
	if i == len(x.ids) || !strings.HasPrefix(x.ids[i], hex) {
		return nil, nil
	}
	if i+1 < len(x.ids) && strings.HasPrefix(x.ids[i+1], hex) {
		return nil, errs.New(errs.InvalidArgument, "multiple IDs found with provided prefix: %s", s)
	}
	return x.byID[digest.NewDigestFromEncoded(digest.SHA256, x.ids[i])], nil
}

// list gives all images, the newest first.
func (x *index) list() []*entry {
	all := make([]*entry, 0, len(x.byID))
	for _, e := range x.byID {
		all = append(all, e)
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i].created(), all[j].created()
		if a.Equal(b) {
			return all[i].id < all[j].id
		}
		return a.After(b)
	})
	return all
}

func (s *Service) find(ref string) (*entry, *record, error) { return s.index.Load().find(ref) }
