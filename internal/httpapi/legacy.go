package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// fields are JSON members that an older API version had and today's types lack.
type fields map[string]any

// withFields gives v's JSON object with the members of extra added. A member
// that v has and that is not null stays as it is; nested fields are merged
// into the nested object. Numbers keep all their digits.
func withFields(v any, extra fields) (json.RawMessage, error) {
	base, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return mergeFields(base, extra)
}

func mergeFields(base json.RawMessage, extra fields) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(base, &object); err != nil {
		return nil, fmt.Errorf("add fields of an older API version: %w", err)
	}
	if object == nil {
		object = map[string]json.RawMessage{}
	}
	for key, value := range extra {
		present, has := object[key]
		var merged json.RawMessage
		var err error
		switch nested, isNested := value.(fields); {
		case isNested && has && isObject(present):
			merged, err = mergeFields(present, nested)
		case has && !bytes.Equal(present, []byte("null")):
			continue
		default:
			merged, err = marshal(value)
		}
		if err != nil {
			return nil, err
		}
		object[key] = merged
	}
	return marshal(object)
}

func isObject(b json.RawMessage) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

// marshal encodes without HTML escapes, as Docker does.
func marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
