package systemd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a value in D-Bus's text form ("GVariant Text Format"), such as
// true, 7, uint64 7, 1.5, 'text', ['a', 'b'] or @as []. Whole numbers without a
// type have 32 bits. No property of a unit is a dictionary, so none can be had.
func Parse(text string) (Value, error) {
	p := textParser{rest: text}
	v, err := p.value("", 0)
	if err == nil && p.peek() != 0 {
		err = fmt.Errorf("unexpected %q after the value", p.rest)
	}
	return v, err
}

type textParser struct{ rest string }

// typeWords are the types of values that are written the same way.
var typeWords = map[string]string{
	"boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t",
	"double": "d", "string": "s", "objectpath": "o", "signature": "g",
}

// maxNesting bounds the depth of arrays, as D-Bus does.
const maxNesting = 32

var errEnd = errors.New("the value is not complete")

// peek skips white space and gives the next byte, 0 at the end.
func (p *textParser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// word takes the bytes up to one of a delimiter's.
func (p *textParser) word() string {
	end := strings.IndexAny(p.rest, " \t\r\n[],<>(){}:'\"")
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

// value reads a value of the wanted type, "" for any.
func (p *textParser) value(want string, depth int) (Value, error) {
	if depth > maxNesting {
		return Value{}, errors.New("arrays in arrays in arrays")
	}
	switch c := p.peek(); {
	case c == 0:
		return Value{}, errEnd
	case c == '@':
		p.rest = p.rest[1:]
		end := strings.IndexAny(p.rest, " \t\r\n")
		if end < 0 {
			return Value{}, errEnd
		}
		kind := p.rest[:end]
		p.rest = p.rest[end:]
		return p.typed(kind, want, depth)
	case c == '[':
		return p.array(want, depth)
	case c == '<':
		return p.variant(want, depth)
	case c == '\'' || c == '"':
		s, err := p.quoted()
		return textValue(s, want, err)
	case strings.HasPrefix(p.rest, "b'") || strings.HasPrefix(p.rest, `b"`):
		p.rest = p.rest[1:]
		s, err := p.quoted()
		if want != "" && want != "ay" {
			err = mismatch("bytes", want)
		}
		return Bytes(append([]byte(s), 0)), err
	}
	w := p.word()
	if kind, ok := typeWords[w]; ok {
		return p.typed(kind, want, depth)
	}
	return scalar(w, want)
}

func (p *textParser) typed(kind, want string, depth int) (Value, error) {
	if want != "" && want != kind {
		return Value{}, mismatch(kind, want)
	}
	return p.value(kind, depth+1)
}

func mismatch(is, want string) error { return fmt.Errorf("%s where type %q is wanted", is, want) }

func textValue(s, want string, err error) (Value, error) {
	switch {
	case err != nil:
		return Value{}, err
	case want == "":
		want = "s"
	case want != "s" && want != "o" && want != "g":
		return Value{}, mismatch("a text", want)
	}
	if !utf8.ValidString(s) || strings.Contains(s, "\x00") || want == "g" && len(s) > 255 {
		return Value{}, fmt.Errorf("%q is no text for D-Bus", s)
	}
	return Value{want, s}, nil
}

func (p *textParser) variant(want string, depth int) (Value, error) {
	p.rest = p.rest[1:]
	v, err := p.value("", depth+1)
	if err == nil && p.peek() != '>' {
		err = errEnd
	}
	if err == nil && want != "" && want != "v" {
		err = mismatch("a variant", want)
	}
	if err != nil {
		return Value{}, err
	}
	p.rest = p.rest[1:]
	return variant(v), nil
}

// array reads elements, which all have the type of the first.
func (p *textParser) array(want string, depth int) (Value, error) {
	element, ok := strings.CutPrefix(want, "a")
	if want != "" && !ok {
		return Value{}, mismatch("an array", want)
	}
	p.rest = p.rest[1:]
	var all []Value
	for {
		switch p.peek() {
		case ']':
			p.rest = p.rest[1:]
			return finishArray(element, all)
		case ',':
			if len(all) == 0 {
				return Value{}, errors.New("a comma without an element before it")
			}
			p.rest = p.rest[1:]
			if p.peek() == ']' {
				return Value{}, errors.New("a comma without an element after it")
			}
		default:
			if len(all) > 0 {
				return Value{}, errors.New("elements without a comma between them")
			}
		}
		v, err := p.value(element, depth+1)
		if err != nil {
			return Value{}, err
		}
		element = v.signature
		all = append(all, v)
	}
}

func finishArray(element string, all []Value) (Value, error) {
	if !completeType(element) {
		return Value{}, fmt.Errorf("an array of unknown type %q", element)
	}
	if element != "y" {
		return Array(element, all...), nil
	}
	bytes := make([]byte, len(all))
	for i, v := range all {
		bytes[i], _ = v.data.(byte) // scalar makes no others of type y
	}
	return Bytes(bytes), nil
}

func completeType(s string) bool {
	s = strings.TrimLeft(s, "a")
	return len(s) == 1 && strings.Contains("ybnqiuxtdsogv", s)
}

// scalar reads a word that is a truth value or a number.
func scalar(w, want string) (Value, error) {
	if w == "true" || w == "false" {
		if want != "" && want != "b" {
			return Value{}, mismatch(w, want)
		}
		return Bool(w == "true"), nil
	}
	if want == "" {
		want = "i"
		if _, err := strconv.ParseInt(w, 0, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			want = "d"
		}
	}
	v, err := number(w, want)
	if err != nil {
		return Value{}, fmt.Errorf("%q is no value of type %q: %w", w, want, err)
	}
	return v, nil
}

func number(w, kind string) (Value, error) {
	bits := map[string]int{"y": 8, "n": 16, "q": 16, "i": 32, "u": 32, "x": 64, "t": 64}[kind]
	switch kind {
	case "d":
		f, err := strconv.ParseFloat(w, 64)
		return Value{kind, f}, err
	case "n", "i", "x":
		n, err := strconv.ParseInt(w, 0, bits)
		return Value{kind, map[string]any{"n": int16(n), "i": int32(n), "x": n}[kind]}, err
	case "y", "q", "u", "t":
		n, err := strconv.ParseUint(w, 0, bits)
		return Value{kind, map[string]any{"y": byte(n), "q": uint16(n), "u": uint32(n), "t": n}[kind]}, err
	}
	return Value{}, errors.New("not a number's type")
}

// quoted takes a text between quotes, in which \ introduces what C and Go know.
func (p *textParser) quoted() (string, error) {
	quote := p.rest[0]
	p.rest = p.rest[1:]
	var out strings.Builder
	for p.rest != "" && p.rest[0] != quote {
		if line, ok := strings.CutPrefix(p.rest, "\\\n"); ok { // a line that goes on
			p.rest = line
			continue
		}
		if len(p.rest) > 1 && p.rest[0] == '\\' && strings.IndexByte(`'"`, p.rest[1]) >= 0 {
			out.WriteByte(p.rest[1])
			p.rest = p.rest[2:]
			continue
		}
		c, multibyte, rest, err := strconv.UnquoteChar(p.rest, 0)
		if err != nil {
			return "", fmt.Errorf("bad escape in %q", p.rest)
		}
		if multibyte || c < utf8.RuneSelf {
			out.WriteRune(c)
		} else {
			out.WriteByte(byte(c))
		}
		p.rest = rest
	}
	if p.rest == "" {
		return "", errEnd
	}
	p.rest = p.rest[1:]
	return out.String(), nil
}
