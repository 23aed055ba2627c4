// Package reference reads names of images as users write them and gives their
// full form: "alpine" is docker.io/library/alpine. Grammar, normal form and
// error texts are those of github.com/distribution/reference, which the tests
// compare it with.
//
// The library is not used because it compiles its regular expressions when the
// program starts, and the CLI starts for every command. Invariant: nothing
// happens at package initialization but the making of a few errors. Asking a
// registry and finding images belong elsewhere.
package reference

import (
	"errors"
	"fmt"
	"strings"
)

const (
	hubDomain   = "docker.io"
	oldHub      = "index.docker.io" // an older name of hubDomain, still in configurations
	hubOfficial = "library/"        // where the hub keeps images that are nobody's
	defaultTag  = "latest"
	maxPath     = 255
)

var (
	errFormat            = errors.New("invalid reference format")
	errUppercase         = errors.New("repository name must be lowercase")
	errTooLong           = fmt.Errorf("repository name must not be more than %d characters", maxPath)
	errDigestFormat      = errors.New("invalid checksum digest format")
	errDigestLength      = errors.New("invalid checksum digest length")
	errDigestUnsupported = errors.New("unsupported digest algorithm")
)

// Ref is a name in its full form, or the digest of an image without a name.
// Domain is empty only if the name's first part looks like a domain but is
// none; Tag and Digest are empty where the user gave none.
type Ref struct {
	Domain, Path, Tag, Digest string
}

// Parse reads a name. What 64 hexadecimal digits mean is ambiguous, so they
// are refused; ParseAny takes them. Errors have no kind.
func Parse(s string) (Ref, error) {
	if isID(s) {
		return Ref{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	domain, rest := splitDomain(s)
	if name, _, _ := strings.Cut(rest, ":"); strings.ToLower(name) != name {
		return Ref{}, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", name)
	}
	full := domain + "/" + rest
	r, ok := scan(full)
	if !ok {
		if _, ok := scan(strings.ToLower(full)); ok {
			return Ref{}, errUppercase
		}
		return Ref{}, errFormat
	}
	if len(r.Path) > maxPath {
		return Ref{}, errTooLong
	}
	if r.Digest != "" {
		if err := checkDigest(r.Digest); err != nil {
			return Ref{}, err
		}
	}
	return r, nil
}

// ParseAny reads a name, a digest or the 64 hexadecimal digits of one; the
// latter two give a Ref without a name.
func ParseAny(s string) (Ref, error) {
	if isID(s) {
		return Ref{Digest: "sha256:" + s}, nil
	}
	if isDigest(s) && checkDigest(s) == nil {
		return Ref{Digest: s}, nil
	}
	return Parse(s)
}

// splitDomain gives the domain that a name means, and what follows it.
func splitDomain(s string) (domain, rest string) {
	first, after, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return hubDomain, hubOfficial + s // never "host:port": that is a name and a tag
	case first == oldHub:
		domain, rest = hubDomain, after
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		domain, rest = first, after
	default:
		domain, rest = hubDomain, s
	}
	if domain == hubDomain && !strings.Contains(rest, "/") {
		rest = hubOfficial + rest
	}
	return domain, rest
}

// HasName tells whether there is more than a digest.
func (r Ref) HasName() bool { return r.Path != "" }

// IsNameOnly tells whether there is neither a tag nor a digest.
func (r Ref) IsNameOnly() bool { return r.Tag == "" && r.Digest == "" }

// WithDefaultTag gives the tag "latest" to what has only a name.
func (r Ref) WithDefaultTag() Ref {
	if r.HasName() && r.IsNameOnly() {
		r.Tag = defaultTag
	}
	return r
}

// Name is the full name without tag and digest.
func (r Ref) Name() string {
	if r.Domain == "" {
		return r.Path
	}
	return r.Domain + "/" + r.Path
}

// String is the full form.
func (r Ref) String() string { return r.with(r.Name()) }

// FamiliarName is the name as users write it, without tag and digest.
func (r Ref) FamiliarName() string {
	if r.Domain != hubDomain {
		return r.Name()
	}
	if name, ok := strings.CutPrefix(r.Path, hubOfficial); ok && !strings.Contains(name, "/") {
		return name
	}
	return r.Path
}

// Familiar is the form that users write.
func (r Ref) Familiar() string { return r.with(r.FamiliarName()) }

// with adds tag and digest to one of the names.
func (r Ref) with(name string) string {
	if !r.HasName() {
		return r.Digest
	}
	if r.Tag != "" {
		name += ":" + r.Tag
	}
	if r.Digest != "" {
		name += "@" + r.Digest
	}
	return name
}
