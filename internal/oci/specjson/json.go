// Package specjson reads the JSON of the runtime specification. It exists
// because a container start is shorter than the time that encoding/json takes
// to look at the specification's types: this reader knows them by heart and is
// several times faster from the first document on.
//
// It accepts what encoding/json accepts, with two exceptions: member names are
// compared exactly, and parts for other operating systems are skipped unread.
// Unknown members are ignored. The fuzz test holds it against encoding/json.
package specjson

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gantry-run/gantry/internal/errs"
)

// maxDepth bounds nesting, as encoding/json does, so that input cannot exhaust the stack.
const maxDepth = 10000

// reader is a cursor over a document. After an error it stays put and every
// method does nothing.
type reader struct {
	data  []byte
	pos   int
	depth int
	err   error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = errs.New(errs.InvalidArgument, "decode specification: offset %d: %s", r.pos, fmt.Sprintf(format, args...))
	}
}

func (r *reader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// next skips space and returns the next byte without consuming it; 0 at the end.
func (r *reader) next() byte {
	r.space()
	if r.err != nil || r.pos >= len(r.data) {
		return 0
	}
	return r.data[r.pos]
}

func (r *reader) expect(c byte) bool {
	if r.next() != c {
		r.fail("expected %q", c)
		return false
	}
	r.pos++
	return true
}

func (r *reader) literal(word string) bool {
	if len(r.data)-r.pos >= len(word) && string(r.data[r.pos:r.pos+len(word)]) == word {
		r.pos += len(word)
		return true
	}
	return false
}

// null consumes a null; what is being read stays as it is then.
func (r *reader) null() bool { return r.next() == 'n' && r.literal("null") }

func (r *reader) enter() bool {
	if r.depth++; r.depth > maxDepth {
		r.fail("nested too deeply")
	}
	return r.err == nil
}

// object calls field for every member; field consumes the value.
func (r *reader) object(field func(name string)) {
	if r.null() || !r.expect('{') || !r.enter() {
		return
	}
	defer func() { r.depth-- }()
	if r.next() == '}' {
		r.pos++
		return
	}
	for r.err == nil {
		var name string
		if r.next() != '"' {
			r.fail("expected a member's name")
			return
		}
		name = r.text()
		if !r.expect(':') {
			return
		}
		field(name)
		switch r.next() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			return
		default:
			r.fail("expected , or }")
		}
	}
}

// array calls item for every element; item consumes it.
func (r *reader) array(item func()) {
	if !r.expect('[') || !r.enter() {
		return
	}
	defer func() { r.depth-- }()
	if r.next() == ']' {
		r.pos++
		return
	}
	for r.err == nil {
		item()
		switch r.next() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			return
		default:
			r.fail("expected , or ]")
		}
	}
}

// skip consumes a value of any type.
func (r *reader) skip() {
	switch c := r.next(); {
	case c == '{':
		r.object(func(string) { r.skip() })
	case c == '[':
		r.array(r.skip)
	case c == '"':
		r.text()
	case c == '-' || c >= '0' && c <= '9':
		r.number()
	case r.err == nil && (r.literal("true") || r.literal("false") || r.literal("null")):
	default:
		r.fail("expected a value")
	}
}

// number consumes a number and returns its text, checked against JSON's grammar.
func (r *reader) number() string {
	start := r.pos
	digits := func() bool {
		from := r.pos
		for r.pos < len(r.data) && r.data[r.pos] >= '0' && r.data[r.pos] <= '9' {
			r.pos++
		}
		return r.pos > from
	}
	at := func(c byte) bool { return r.pos < len(r.data) && r.data[r.pos] == c }
	if at('-') {
		r.pos++
	}
	ok := true
	if at('0') {
		r.pos++
	} else {
		ok = digits()
	}
	if ok && at('.') {
		r.pos++
		ok = digits()
	}
	if ok && (at('e') || at('E')) {
		r.pos++
		if at('+') || at('-') {
			r.pos++
		}
		ok = digits()
	}
	if !ok {
		r.fail("malformed number")
	}
	return string(r.data[start:r.pos])
}

// text consumes a string.
func (r *reader) text() string {
	if !r.expect('"') {
		return ""
	}
	for i := r.pos; i < len(r.data); i++ {
		switch c := r.data[i]; {
		case c == '"': // the usual case: nothing to translate
			s := string(r.data[r.pos:i])
			r.pos = i + 1
			return s
		case c == '\\' || c >= utf8.RuneSelf:
			return r.translated()
		case c < ' ':
			r.pos = i
			r.fail("control character in string")
			return ""
		}
	}
	r.fail("unterminated string")
	return ""
}

// translated is the part of text for strings with escapes or beyond ASCII.
func (r *reader) translated() string {
	var out []byte
	for r.pos < len(r.data) {
		c := r.data[r.pos]
		switch {
		case c == '"':
			r.pos++
			return string(out)
		case c == '\\':
			r.pos++
			out = r.escape(out)
			if r.err != nil {
				return ""
			}
		case c < ' ':
			r.fail("control character in string")
			return ""
		case c < utf8.RuneSelf:
			out = append(out, c)
			r.pos++
		default:
			char, size := utf8.DecodeRune(r.data[r.pos:]) // U+FFFD for what is no UTF-8
			out = utf8.AppendRune(out, char)
			r.pos += size
		}
	}
	r.fail("unterminated string")
	return ""
}

func (r *reader) escape(out []byte) []byte {
	if r.pos >= len(r.data) {
		r.fail("unterminated string")
		return out
	}
	c := r.data[r.pos]
	r.pos++
	switch c {
	case '"', '\\', '/':
		return append(out, c)
	case 'b':
		return append(out, '\b')
	case 'f':
		return append(out, '\f')
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'u':
	default:
		r.fail("invalid escape %q", c)
		return out
	}
	char := r.hex4()
	if utf16.IsSurrogate(char) {
		if rest := r.data[r.pos:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
			back := r.pos
			r.pos += 2
			if pair := utf16.DecodeRune(char, r.hex4()); pair != utf8.RuneError {
				return utf8.AppendRune(out, pair)
			}
			r.pos = back // the second one stands for itself
		}
		char = utf8.RuneError
	}
	return utf8.AppendRune(out, char)
}

func (r *reader) hex4() rune {
	if len(r.data)-r.pos < 4 {
		r.fail("short \\u escape")
		return 0
	}
	n, err := strconv.ParseUint(string(r.data[r.pos:r.pos+4]), 16, 16)
	if err != nil {
		r.fail("malformed \\u escape")
		return 0
	}
	r.pos += 4
	return rune(n)
}

// str reads a string of any string type.
func str[T ~string](r *reader, to *T) {
	if !r.null() {
		*to = T(r.text())
	}
}

// boolean reads true or false.
func boolean(r *reader, to *bool) {
	switch {
	case r.null():
	case r.literal("true"):
		*to = true
	case r.literal("false"):
		*to = false
	default:
		r.fail("expected true or false")
	}
}

// integer is what num reads.
type integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint16 | ~uint32 | ~uint64
}

// num reads an integer that fits.
func num[T integer](r *reader, to *T) {
	if r.null() {
		return
	}
	if c := r.next(); c != '-' && (c < '0' || c > '9') {
		r.fail("expected a number")
		return
	}
	text := r.number()
	if r.err != nil {
		return
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if v := T(n); int64(v) == n && (v < 0) == (n < 0) {
			*to = v
			return
		}
	} else if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > math.MaxInt64 {
		if v := T(n); v > 0 && uint64(v) == n {
			*to = v
			return
		}
	}
	r.fail("%s is not an integer of the right size", text)
}

// ptr reads into a new value; null gives nil.
func ptr[T any](r *reader, to **T, read func(*reader, *T)) {
	if r.null() {
		*to = nil
		return
	}
	if *to == nil {
		*to = new(T)
	}
	read(r, *to)
}

// list reads an array; null gives nil.
func list[T any](r *reader, to *[]T, read func(*reader, *T)) {
	if r.null() {
		*to = nil
		return
	}
	out := (*to)[:0]
	r.array(func() {
		var v T
		read(r, &v)
		out = append(out, v)
	})
	if out == nil {
		out = []T{}
	}
	*to = out
}

// dict reads an object with arbitrary names; null gives nil.
func dict[T any](r *reader, to *map[string]T, read func(*reader, *T)) {
	if r.null() {
		*to = nil
		return
	}
	if *to == nil {
		*to = map[string]T{}
	}
	r.object(func(name string) {
		var v T
		read(r, &v)
		(*to)[name] = v
	})
}

// document reads one value and nothing after it.
func document[T any](data []byte, read func(*reader, *T)) (*T, error) {
	r := &reader{data: data}
	v := new(T)
	read(r, v)
	if r.space(); r.err == nil && r.pos < len(data) {
		r.fail("something follows the document")
	}
	if r.err != nil {
		return nil, r.err
	}
	return v, nil
}
