package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxJSONBody bounds a JSON request body, in bytes. It is the size above which
// Docker, too, refuses bodies (its authorization plugins never see more).
const maxJSONBody = 4 << 20

// request is one API request: HTTP's, plus what the router found out.
type request struct {
	*http.Request
	version version
	name    string // value of the path's variable
	part    string // value of its second variable
	query   url.Values
}

// flag reads a boolean in Docker's way: everything but the words for "no" is true.
func (r *request) flag(key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.query.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr reads a boolean that has a default when it is absent.
func (r *request) flagOr(key string, absent bool) bool {
	if !r.query.Has(key) {
		return absent
	}
	return r.flag(key)
}

// number reads an integer; set tells whether there was one.
func (r *request) number(key string) (n int, set bool, err error) {
	s := r.query.Get(key)
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(s)
	return n, true, errs.Wrap(errs.InvalidArgument, err)
}

// filters decodes the filters parameter.
func (r *request) filters() (engine.Filters, error) { return decodeFilters(r.query.Get("filters")) }

// timestamp decodes "seconds" or "seconds.nanoseconds"; empty is the zero time.
func (r *request) timestamp(key string) (time.Time, error) {
	s := r.query.Get(key)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := parseTimestamp(s)
	return t, errs.Wrap(errs.InvalidArgument, err)
}

// size decodes one dimension of a terminal.
func (r *request) size(key, what string) (uint16, error) {
	s := r.query.Get(key)
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errs.New(errs.InvalidArgument, "invalid resize %s %q: %w", what, s, errors.Unwrap(err))
	}
	return uint16(n), nil
}

func parseTimestamp(s string) (time.Time, error) {
	secText, nanoText, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(secText, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: invalid seconds %q: %w", s, secText, errors.Unwrap(err))
	}
	// Nine digits are meant; longer ones are cut and shorter ones filled up.
	nanoText = (nanoText + "000000000")[:9]
	nano, err := strconv.ParseUint(nanoText, 10, 32)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: invalid nanoseconds: %w", s, errors.Unwrap(err))
	}
	return time.Unix(sec, int64(nano)).UTC(), nil
}

// decodeJSON reads the request's JSON body into out. An absent body leaves out
// as it is: clients that have nothing to say may send none.
func (r *request) decodeJSON(out any) error {
	if err := r.checkJSON(); err != nil {
		return err
	}
	body, err := r.readBody()
	if err != nil || r.ContentLength == 0 {
		return err
	}
	return unmarshalBody(body, out)
}

// checkJSON refuses bodies of another type than JSON.
func (r *request) checkJSON() error {
	header := r.Header.Get("Content-Type")
	if header == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(header)
	if err != nil {
		return errs.New(errs.InvalidArgument, "malformed Content-Type header (%s): %w", header, err)
	}
	if mediaType != "application/json" {
		return errs.New(errs.InvalidArgument, "unsupported Content-Type header (%s): must be 'application/json'", header)
	}
	return nil
}

// readBody reads a body of at most maxJSONBody bytes.
func (r *request) readBody() ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxJSONBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fmt.Errorf("request body exceeds %d bytes: %w", maxJSONBody, err)
	}
	return body, errs.Wrap(errs.InvalidArgument, err)
}

// unmarshalBody decodes one JSON document with Docker's messages for bad ones.
func unmarshalBody(body []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(out); err != nil {
		if errors.Is(err, io.EOF) {
			return errs.New(errs.InvalidArgument, "invalid JSON: got EOF while reading request body")
		}
		return errs.New(errs.InvalidArgument, "invalid JSON: %w", err)
	}
	if dec.More() {
		return errs.New(errs.InvalidArgument, "unexpected content after JSON")
	}
	return nil
}

// platform decodes a parameter of the form os[/arch[/variant]].
func (r *request) platform(key string) (*ocispec.Platform, error) {
	s := r.query.Get(key)
	if s == "" {
		return nil, nil
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidArgument, err)
	}
	return &p, nil
}

// jsonPlatform decodes a platform that is given as JSON; nil if there is none.
func (r *request) jsonPlatform(key string) (*ocispec.Platform, error) {
	s := r.query.Get(key)
	if s == "" {
		return nil, nil
	}
	return decodePlatform(s)
}

func decodePlatform(s string) (*ocispec.Platform, error) {
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(s), &p); err != nil {
		return nil, errs.New(errs.InvalidArgument, "failed to parse platform: %w", err)
	}
	optional := p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0
	if p.OS == "" && p.Architecture == "" && optional {
		return nil, errs.New(errs.InvalidArgument, "optional platform fields provided, but OS and Architecture are missing")
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, errs.New(errs.InvalidArgument, "both OS and Architecture must be provided")
	}
	return &p, nil
}

// jsonPlatforms decodes a repeatable platform parameter. API versions before
// 1.48 had none, those before 1.52 at most one.
func (r *request) jsonPlatforms(key string) ([]ocispec.Platform, error) {
	if r.version.before(48) {
		return nil, nil
	}
	values := r.query[key]
	if r.version.before(52) && len(values) > 1 {
		return nil, errs.New(errs.InvalidArgument, "multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	var all []ocispec.Platform
	for _, value := range values {
		p, err := decodePlatform(value)
		if err != nil {
			return nil, err
		}
		all = append(all, *p)
	}
	return all, nil
}

// parseQuery decodes the URL's query, refusing what cannot be decoded.
func parseQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	return query, errs.Wrap(errs.InvalidArgument, err)
}
