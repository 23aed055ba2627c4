package reference

import "strings"

// The grammar:
//
//	reference  name [":" tag] ["@" digest]
//	name       [domain "/"] path
//	domain     (label {"." label} | "[" hex digits and colons "]") [":" digits]
//	label      letters, digits and inner dashes
//	path       component {"/" component}
//	component  lower-case letters and digits, with single separators between
//	separator  "." | "_" | "__" | any number of dashes
//	tag        a letter, digit or underscore, then up to 127 of these, "." and "-"
//	digest     algorithm ":" at least 32 hexadecimal digits
//	algorithm  words, which start with a letter, with one of "+._-" between

// scan takes a reference apart. No separator is ambiguous: only a digest has
// an "@" before it, and a colon after the last slash can only start a tag.
func scan(s string) (r Ref, ok bool) {
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !isDigest(digest) {
		return Ref{}, false
	}
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if name, tag = name[:i], name[i+1:]; !isTag(tag) {
			return Ref{}, false
		}
	}
	if domain, path, ok := strings.Cut(name, "/"); ok && isDomain(domain) && isPath(path) {
		return Ref{domain, path, tag, digest}, true
	}
	return Ref{"", name, tag, digest}, isPath(name)
}

func isDomain(s string) bool {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		address, port, ok := strings.Cut(rest, "]")
		return ok && all(address, isAddressByte) && (port == "" || port[0] == ':' && all(port[1:], isDigit))
	}
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && !all(port, isDigit) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if !all(label, isLabelByte) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

func isComponent(s string) bool {
	for {
		word := prefix(s, isLowerOrDigit)
		if word == 0 {
			return false // at the start, or a separator without a word after it
		}
		if s = s[word:]; s == "" {
			return true
		}
		separator := prefix(s, isSeparator)
		switch {
		case separator == 1:
		case s[:separator] == "__", strings.Trim(s[:separator], "-") == "" && separator > 0:
		default:
			return false
		}
		s = s[separator:]
	}
}

func isTag(s string) bool {
	return all(s, isTagByte) && len(s) <= 128 && s[0] != '.' && s[0] != '-'
}

func isDigest(s string) bool {
	algorithm, sum, ok := strings.Cut(s, ":")
	if !ok || len(sum) < 32 || !all(sum, isHex) {
		return false
	}
	for {
		n := prefix(algorithm, isLetterOrDigit)
		if n == 0 || isDigit(algorithm[0]) {
			return false
		}
		if algorithm = algorithm[n:]; algorithm == "" {
			return true
		}
		if !strings.ContainsRune("+._-", rune(algorithm[0])) {
			return false
		}
		algorithm = algorithm[1:]
	}
}

// checkDigest judges a digest of the right form by its algorithm.
func checkDigest(s string) error {
	algorithm, sum, _ := strings.Cut(s, ":")
	size := 0
	switch algorithm {
	case "sha256":
		size = 64
	case "sha384":
		size = 96
	case "sha512":
		size = 128
	default:
		if strings.ToLower(algorithm) != algorithm {
			return errDigestFormat
		}
		return errDigestUnsupported
	}
	switch {
	case len(sum) != size:
		return errDigestLength
	case !all(sum, isLowerHex):
		return errDigestFormat
	}
	return nil
}

// isID tells whether s is what images and containers are called by in full.
func isID(s string) bool { return len(s) == 64 && all(s, isLowerHex) }

// prefix is the length of the longest start of s that holds only such bytes.
func prefix(s string, in func(byte) bool) int {
	for i := range len(s) {
		if !in(s[i]) {
			return i
		}
	}
	return len(s)
}

// all tells whether s has only such bytes, and at least one.
func all(s string, in func(byte) bool) bool { return s != "" && prefix(s, in) == len(s) }

func isDigit(b byte) bool         { return '0' <= b && b <= '9' }
func isLower(b byte) bool         { return 'a' <= b && b <= 'z' }
func isUpper(b byte) bool         { return 'A' <= b && b <= 'Z' }
func isLowerOrDigit(b byte) bool  { return isLower(b) || isDigit(b) }
func isLetterOrDigit(b byte) bool { return isLower(b) || isUpper(b) || isDigit(b) }
func isLowerHex(b byte) bool      { return isDigit(b) || 'a' <= b && b <= 'f' }
func isHex(b byte) bool           { return isLowerHex(b) || 'A' <= b && b <= 'F' }
func isAddressByte(b byte) bool   { return isHex(b) || b == ':' }
func isLabelByte(b byte) bool     { return isLetterOrDigit(b) || b == '-' }
func isSeparator(b byte) bool     { return b == '.' || b == '_' || b == '-' }
func isTagByte(b byte) bool       { return isLetterOrDigit(b) || isSeparator(b) }
