package image

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-run/gantry/internal/errs"
)

// anchorPrefix starts the names of anchor records. No reference can look so: a
// canonical one has a domain and a path.
const anchorPrefix = "image@"

func anchorName(id digest.Digest) string { return anchorPrefix + id.String() }

// parseName parses a reference with an optional tag and digest; malformed ones
// are errs.InvalidArgument with Docker's "invalid reference format" text.
func parseName(s string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	if reference.FamiliarName(named) == "scratch" {
		return nil, errs.New(errs.InvalidArgument, "'scratch' is a reserved name")
	}
	return named, nil
}

// parseTarget parses what an image may be named: a tag, never a digest.
func parseTarget(s string) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, errs.New(errs.InvalidArgument, "refusing to create a tag with a digest reference")
	}
	if reference.FamiliarName(named) == "sha256" {
		return nil, errs.New(errs.InvalidArgument, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "invalid reference format")
	}
	return tagged, nil
}

// canonical names a manifest of a repository.
func canonical(name reference.Named, d digest.Digest) reference.Canonical {
	c, err := reference.WithDigest(reference.TrimNamed(name), d)
	if err != nil {
		panic("a parsed name with a validated digest is a reference: " + err.Error())
	}
	return c
}

// withoutTag drops the tag of name:tag@digest: the digest decides.
func withoutTag(named reference.Named) reference.Named {
	if d, ok := named.(reference.Digested); ok {
		return canonical(named, d.Digest())
	}
	return named
}

var hexDigits = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

// idPrefix gives the digits if s can be an image ID or a prefix of one.
func idPrefix(s string) (string, bool) {
	s = strings.TrimPrefix(s, "sha256:")
	return s, hexDigits.MatchString(s)
}

// shortID is the ID as Docker prints it.
func shortID(d digest.Digest) string {
	if e := d.Encoded(); len(e) > 12 {
		return e[:12]
	}
	return d.Encoded()
}

// notFound is Docker's text for an image that is not there.
func notFound(ref string) error {
	if named, err := reference.ParseAnyReference(ref); err == nil {
		if n, ok := named.(reference.Named); ok {
			named = reference.TagNameOnly(n)
		}
		ref = reference.FamiliarString(named)
	}
	return errs.New(errs.NotFound, "No such image: %s", ref)
}
