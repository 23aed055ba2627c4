package logstream

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// fast parses {"log":…,"stream":…,["attrs":{…},]"time":…} in this order and
// without blanks. ok is false for anything else, valid or not.
func (d *decoder) fast(b []byte) (e Entry, ok bool) {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	if b, ok = bytes.CutPrefix(b, []byte(`{"log":"`)); !ok {
		return e, false
	}
	d.line, b, ok = unquote(d.line[:0], b)
	if !ok {
		return e, false
	}
	e.Line = d.line
	if b, ok = bytes.CutPrefix(b, []byte(`,"stream":"`)); !ok {
		return e, false
	}
	if e.Stream, b, ok = cutStream(b); !ok {
		return e, false
	}
	if rest, has := bytes.CutPrefix(b, []byte(`,"attrs":`)); has {
		if e.Attrs, b, ok = d.cutAttrs(rest); !ok {
			return e, false
		}
	}
	if b, ok = bytes.CutPrefix(b, []byte(`,"time":"`)); !ok {
		return e, false
	}
	if b, ok = bytes.CutSuffix(b, []byte(`"}`)); !ok {
		return e, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	e.Time = t
	return e, err == nil && plausible(b)
}

// plausible tells whether a time has the strict form that encoding/json wants:
// time.Parse also takes one digit for hours and a comma.
func plausible(b []byte) bool {
	return len(b) >= len("2006-01-02T15:04:05Z") && b[10] == 'T' && b[13] == ':' && bytes.IndexByte(b, ',') < 0 && b[len(b)-1] == 'Z'
}

// cutStream takes a stream's name and the quote behind it.
func cutStream(b []byte) (name string, rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(b, []byte(`stdout"`)); ok {
		return "stdout", rest, true
	}
	if rest, ok = bytes.CutPrefix(b, []byte(`stderr"`)); ok {
		return "stderr", rest, true
	}
	return "", b, false
}

// cutAttrs takes an object of strings, which is mostly the same as before.
func (d *decoder) cutAttrs(b []byte) (attrs map[string]string, rest []byte, ok bool) {
	if len(d.rawAttrs) > 0 {
		if rest, ok = bytes.CutPrefix(b, d.rawAttrs); ok {
			return d.attrs, rest, true
		}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&attrs); err != nil {
		return nil, b, false
	}
	n := dec.InputOffset()
	d.rawAttrs, d.attrs = bytes.Clone(b[:n]), attrs
	return attrs, b[n:], true
}

// unquote appends a JSON string, whose first quote is gone already, to dst and
// gives what is behind its last quote.
func unquote(dst, b []byte) (out, rest []byte, ok bool) {
	for {
		i := bytes.IndexAny(b, "\"\\")
		if i < 0 || !printable(b[:i]) {
			return dst, b, false
		}
		dst = append(dst, b[:i]...)
		if b[i] == '"' {
			return dst, b[i+1:], true
		}
		if dst, b, ok = unescape(dst, b[i+1:]); !ok {
			return dst, b, false
		}
	}
}

// printable tells whether bytes may stand in a JSON string as they are.
func printable(b []byte) bool {
	wide := false
	for _, c := range b {
		if c < 0x20 {
			return false
		}
		wide = wide || c >= utf8.RuneSelf
	}
	return !wide || utf8.Valid(b)
}

// unescape appends what the escape whose backslash is gone stands for.
func unescape(dst, b []byte) (out, rest []byte, ok bool) {
	if len(b) == 0 {
		return dst, b, false
	}
	c := b[0]
	b = b[1:]
	switch c {
	case '"', '\\', '/':
	case 'n':
		c = '\n'
	case 't':
		c = '\t'
	case 'r':
		c = '\r'
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'u':
		r, ok := hex4(b)
		if !ok {
			return dst, b, false
		}
		b = b[4:]
		if utf16.IsSurrogate(r) {
			return surrogate(dst, b, r)
		}
		return utf8.AppendRune(dst, r), b, true
	default:
		return dst, b, false
	}
	return append(dst, c), b, true
}

// surrogate appends the character that r and the escape behind it make; r alone
// is U+FFFD.
func surrogate(dst, b []byte, r rune) (out, rest []byte, ok bool) {
	if next, has := bytes.CutPrefix(b, []byte(`\u`)); has {
		if low, ok := hex4(next); ok {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return utf8.AppendRune(dst, full), next[4:], true
			}
		}
	}
	return utf8.AppendRune(dst, utf8.RuneError), b, true
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
