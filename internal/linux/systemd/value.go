package systemd

import (
	"fmt"
	"strings"
)

// Value is a value of D-Bus with its type.
type Value struct {
	signature string // "t", "as", "a(st)"
	data      any    // bool, byte, a sized integer, float64, string, []byte for "ay", []Value for other arrays and structures
}

// Property is a property of a unit.
type Property struct {
	Name  string
	Value Value
}

// The basic values.
func Bool(v bool) Value     { return Value{"b", v} }
func Uint32(v uint32) Value { return Value{"u", v} }
func Uint64(v uint64) Value { return Value{"t", v} }
func String(v string) Value { return Value{"s", v} }
func Bytes(v []byte) Value  { return Value{"ay", v} }

// Struct is a structure, at least one member long.
func Struct(members ...Value) Value {
	var s strings.Builder
	for _, m := range members {
		s.WriteString(m.signature)
	}
	return Value{"(" + s.String() + ")", members}
}

// Array is an array of elements of one type, which need not be any.
func Array(element string, elements ...Value) Value { return Value{"a" + element, elements} }

// variant wraps a value in one that tells its type.
func variant(v Value) Value { return Value{"v", v} }

// Number is the value as a number, if it is a real or at least 32 bits wide.
func (v Value) Number() (float64, bool) {
	switch n := v.data.(type) {
	case float64:
		return n, true
	case int32:
		return float64(n), true
	case uint32:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

// String is for messages to people.
func (v Value) String() string {
	if list, ok := v.data.([]Value); ok {
		words := make([]string, len(list))
		for i, e := range list {
			words[i] = e.String()
		}
		if v.signature[0] == '(' {
			return "{" + strings.Join(words, " ") + "}"
		}
		return "[" + strings.Join(words, " ") + "]"
	}
	return fmt.Sprint(v.data)
}
