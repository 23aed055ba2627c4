package volume

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// nameChars are Docker's allowed characters, quoted in its message.
const nameChars = `[a-zA-Z0-9][a-zA-Z0-9_.-]`

var (
	validName     = regexp.MustCompile(`^` + nameChars + `+$`)
	anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func compare(a, b string) int { return strings.Compare(a, b) }

// checkName refuses what is no name for a local volume. A valid name is also a
// single, visible path component.
func checkName(name string) error {
	if len(name) == 1 {
		return errs.New(errs.InvalidArgument, "create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	}
	if !validName.MatchString(name) {
		return errs.New(errs.InvalidArgument, "create %s: %q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", name, name, nameChars)
	}
	if len(name) > 255-len(removedPrefix)-removedSuffix { // NAME_MAX, with room for the name while it is removed
		return errs.New(errs.InvalidArgument, "create %s: volume name is too long", name)
	}
	return nil
}

// AnonymousName makes a name for a volume that the user gave none: 64 random
// hexadecimal digits. Ensure makes one by itself; a caller that must know the
// name before the volume exists makes it here and passes the label too.
func AnonymousName() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand's contract
	return hex.EncodeToString(b[:])
}
