package httpapi

import (
	"errors"
	"net/http"

	"github.com/gantry-run/gantry/internal/errs"
)

// statusOf gives the HTTP status of an error. Nothing else in the daemon
// knows about statuses.
func statusOf(err error) int {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return http.StatusRequestEntityTooLarge
	}
	switch errs.KindOf(err) {
	case errs.InvalidArgument:
		return http.StatusBadRequest
	case errs.Unauthorized:
		return http.StatusUnauthorized
	case errs.Permission:
		return http.StatusForbidden
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Conflict:
		return http.StatusConflict
	case errs.Unsupported:
		return http.StatusNotImplemented
	case errs.Unavailable:
		return http.StatusServiceUnavailable
	case errs.NotModified:
		return http.StatusNotModified
	case errs.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}
