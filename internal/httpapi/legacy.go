package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// fields are JSON members that an older API version had and today's types lack.
type fields map[string]any

// memberOrder is where Docker has members of older versions, by the name of the
// object that they are in ("" is the outermost). People read these documents.
var memberOrder = map[string][]string{
	"": {"status", "id", "from", "Id", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "DockerVersion", "Author", "Config", "ConfigOnly", "Containers"},
	"NetworkSettings": {
		"Bridge", "SandboxID", "SandboxKey", "Ports", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses",
		"SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress",
	},
	"Config": {
		"Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts", "Tty", "OpenStdin", "StdinOnce", "Env", "Cmd",
		"Healthcheck", "ArgsEscaped", "Image", "Volumes", "WorkingDir", "Entrypoint", "NetworkDisabled", "MacAddress", "OnBuild", "Labels",
	},
}

// withFields gives v's JSON object with the members of extra added, in Docker's
// order. A member that v has and that is not null stays as it is; nested fields are
// merged into the nested object. Numbers keep all their digits.
func withFields(v any, extra fields) (json.RawMessage, error) {
	base, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return mergeFields(base, extra, "")
}

func mergeFields(base json.RawMessage, extra fields, name string) (json.RawMessage, error) {
	object, err := parseMembers(base)
	if err != nil {
		return nil, fmt.Errorf("add fields of an older API version: %w", err)
	}
	order := memberOrder[name]
	rank := func(key string) int { return slices.Index(order, key) }
	keys := slices.SortedFunc(maps.Keys(extra), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	for _, key := range keys {
		i := slices.IndexFunc(object, func(m member) bool { return m.key == key })
		var merged json.RawMessage
		switch nested, isNested := extra[key].(fields); {
		case isNested && i >= 0 && isObject(object[i].value):
			merged, err = mergeFields(object[i].value, nested, key)
		case i >= 0 && !bytes.Equal(object[i].value, []byte("null")):
			continue
		default:
			merged, err = marshal(extra[key])
		}
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			object[i].value = merged
			continue
		}
		object = slices.Insert(object, placeOf(key, object, order), member{key, merged})
	}
	return joinMembers(object), nil
}

// member is one of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// placeOf is the place of a new member: behind the nearest that is before it in the
// order, or at the end if the order does not have it.
func placeOf(key string, object []member, order []string) int {
	at := slices.Index(order, key)
	if at < 0 {
		return len(object)
	}
	for _, before := range slices.Backward(order[:at]) {
		if i := slices.IndexFunc(object, func(m member) bool { return m.key == before }); i >= 0 {
			return i + 1
		}
	}
	return 0
}

// parseMembers takes a JSON object, or null, apart.
func parseMembers(data []byte) (object []member, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	first, err := dec.Token()
	if err != nil || first == nil {
		return nil, err
	}
	if first != json.Delim('{') {
		return nil, fmt.Errorf("%v is not an object", first)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		object = append(object, member{key.(string), value}) // what is decoded here was encoded by us
	}
	return object, nil
}

func joinMembers(object []member) json.RawMessage {
	out := []byte{'{'}
	for i, m := range object {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(strconv.AppendQuote(out, m.key), ':') // names of fields have nothing to escape
		out = append(out, m.value...)
	}
	return append(out, '}')
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
