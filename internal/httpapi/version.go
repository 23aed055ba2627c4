package httpapi

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// API versions this server speaks.
const (
	// MaxVersion is the newest API version, that of github.com/moby/moby/api v1.56.
	MaxVersion = "1.56"
	// DefaultMinVersion is the oldest version served unless Options says
	// otherwise; it is also the oldest that moby's own client speaks.
	DefaultMinVersion = "1.40"
	// LowestMinVersion is how far Options.MinVersion may go down, for clients
	// with a version pinned years ago.
	LowestMinVersion = "1.24"
)

// version is an API version "major.minor".
type version struct{ major, minor int }

// parseVersion parses "1.41". Further dotted parts are accepted and ignored,
// as Docker does in request paths.
func parseVersion(s string) (version, bool) {
	majorText, rest, dotted := strings.Cut(s, ".")
	major, err := strconv.Atoi(majorText)
	if err != nil || major < 0 {
		return version{}, false
	}
	if !dotted {
		return version{major: major}, true
	}
	minorText, _, _ := strings.Cut(rest, ".")
	minor, err := strconv.Atoi(minorText)
	if err != nil || minor < 0 {
		return version{}, false
	}
	return version{major, minor}, true
}

func mustVersion(s string) version {
	v, ok := parseVersion(s)
	if !ok {
		panic("httpapi: malformed version constant " + strconv.Quote(s))
	}
	return v
}

// String gives "major.minor".
func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// less tells whether v is older than w.
func (v version) less(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// before tells whether v is older than 1.minor. All versions of the API so far are 1.x.
func (v version) before(minor int) bool { return v.less(version{1, minor}) }

// checkVersion refuses versions that are outside of [min, max].
func checkVersion(v, min, max version) error {
	switch {
	case v.less(min):
		return errs.New(errs.InvalidArgument, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, min)
	case max.less(v):
		return errs.New(errs.InvalidArgument, "client version %s is too new. Maximum supported API version is %s", v, max)
	}
	return nil
}

// splitVersion separates a "/v1.41" prefix from a request path. ok is false
// if there is a prefix of that form that holds no version.
func splitVersion(path string) (v version, rest string, versioned, ok bool) {
	if len(path) < 3 || path[0] != '/' || path[1] != 'v' || path[2] < '0' || path[2] > '9' {
		return version{}, path, false, true
	}
	end := strings.IndexByte(path[1:], '/')
	if end < 0 {
		return version{}, path, false, false
	}
	v, ok = parseVersion(path[2 : 1+end])
	return v, path[1+end:], true, ok
}
