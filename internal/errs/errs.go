// Package errs gives every error of Gantry a kind. Domains attach a kind where
// they know it, the HTTP API turns the kind into a status and the CLI into an
// exit code. Nothing else about an error is encoded here: messages are plain
// wrapped errors.
package errs

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what the caller can do about it.
type Kind uint8

// The kinds, in the order of the HTTP statuses that Docker gives them.
const (
	Internal        Kind = iota // a fault of ours or of the machine; 500
	InvalidArgument             // the request can never work; 400
	Permission                  // the caller may not do it; 403
	NotFound                    // the object does not exist; 404
	Conflict                    // the object's state or name forbids it; 409
	Unsupported                 // this machine or build cannot do it; 501
	Unavailable                 // a service that is needed does not answer; 503
	NotModified                 // there is nothing to do; 304
	Unauthorized                // credentials are missing or wrong; 401
)

var kindNames = [...]string{"internal", "invalid argument", "permission", "not found", "conflict", "unsupported", "unavailable", "not modified", "unauthorized"}

// String names the kind for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// New formats an error of the given kind; the format takes %w as fmt.Errorf does.
func New(kind Kind, format string, args ...any) error {
	return &kinded{kind: kind, err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind without changing its text. A nil err stays nil.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &kinded{kind: kind, err: err}
}

// KindOf returns the outermost kind in err's chain, Internal if there is none.
func KindOf(err error) Kind {
	if k, ok := errors.AsType[*kinded](err); ok {
		return k.kind
	}
	return Internal
}

// Is tells whether err has the given kind. A nil error has none.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
