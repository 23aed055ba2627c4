package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

// value is a setting that a flag and a key of daemon.json can give. The file's
// value replaces what is there; a repeated flag adds to lists and maps.
type value interface {
	pflag.Value
	setJSON(raw json.RawMessage) error
}

// scalar is a value with a text form.
type scalar[T any] struct {
	p     *T
	kind  string // as shown in the usage
	parse func(string) (T, error)
	show  func(T) string
}

func (v scalar[T]) String() string {
	if v.p == nil {
		return "" // pflag asks a zero value for its default
	}
	return v.show(*v.p)
}

func (v scalar[T]) Type() string { return v.kind }

func (v scalar[T]) Set(s string) error {
	parsed, err := v.parse(s)
	if err == nil {
		*v.p = parsed
	}
	return err
}

// setJSON takes the JSON type that belongs to the kind, or a string that could
// stand on the command line for kinds that JSON has no type for.
func (v scalar[T]) setJSON(raw json.RawMessage) error {
	switch any(*v.p).(type) {
	case bool, string, int:
		var parsed T
		if err := json.Unmarshal(raw, &parsed); err != nil {
			return fmt.Errorf("must be a %s", v.kind)
		}
		return v.Set(v.show(parsed))
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		var number json.Number
		if json.Unmarshal(raw, &number) != nil {
			return fmt.Errorf("must be a %s", v.kind)
		}
		text = number.String()
	}
	return v.Set(text)
}

func boolean(p *bool) value {
	return scalar[bool]{p, "bool", strconv.ParseBool, strconv.FormatBool}
}

func text(p *string) value {
	return scalar[string]{p, "string", func(s string) (string, error) { return s, nil }, func(s string) string { return s }}
}

func integer(p *int) value {
	return scalar[int]{p, "int", strconv.Atoi, strconv.Itoa}
}

// seconds is a duration given in whole seconds.
func seconds(p *time.Duration) value {
	parse := func(s string) (time.Duration, error) {
		n, err := strconv.Atoi(s)
		return time.Duration(n) * time.Second, err
	}
	return scalar[time.Duration]{p, "int", parse, func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }}
}

// byteSize is a size such as 64M.
func byteSize(p *int64) value {
	return scalar[int64]{p, "bytes", units.RAMInBytes, func(n int64) string { return units.BytesSize(float64(n)) }}
}

func address(p *netip.Addr) value {
	parse := func(s string) (netip.Addr, error) {
		if s == "" {
			return netip.Addr{}, nil
		}
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return a, fmt.Errorf("failed to parse IP: %q", s)
		}
		return a.Unmap(), nil
	}
	return scalar[netip.Addr]{p, "ip", parse, func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}}
}

// prefix is an address with the length of its subnet.
func prefix(p *netip.Prefix) value {
	parse := func(s string) (netip.Prefix, error) {
		if s == "" {
			return netip.Prefix{}, nil
		}
		parsed, err := netip.ParsePrefix(s)
		if err != nil {
			return parsed, fmt.Errorf("invalid CIDR address: %s", s)
		}
		return parsed, nil
	}
	return scalar[netip.Prefix]{p, "string", parse, func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return p.String()
	}}
}

// list is a value that may be given many times.
type list[T any] struct {
	p     *[]T
	parse func(string) (T, error)
}

func (v list[T]) String() string {
	if v.p == nil || len(*v.p) == 0 {
		return ""
	}
	return fmt.Sprint(*v.p)
}

func (v list[T]) Type() string { return "list" }

func (v list[T]) Set(s string) error {
	item, err := v.parse(s)
	if err == nil {
		*v.p = append(*v.p, item)
	}
	return err
}

func (v list[T]) setJSON(raw json.RawMessage) error {
	var items []string
	if err := json.Unmarshal(raw, &items); err != nil {
		return fmt.Errorf("must be a list of strings")
	}
	*v.p = nil
	for _, item := range items {
		if err := v.Set(item); err != nil {
			return err
		}
	}
	return nil
}

func texts(p *[]string, check func(string) (string, error)) value {
	if check == nil {
		check = func(s string) (string, error) { return s, nil }
	}
	return list[string]{p, check}
}

func addresses(p *[]netip.Addr) value {
	return list[netip.Addr]{p, func(s string) (netip.Addr, error) {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return a, fmt.Errorf("IP address is not correctly formatted: %s", s)
		}
		return a.Unmap(), nil
	}}
}

// table is a value of key=value pairs.
type table[T any] struct {
	p     *map[string]T
	kind  string
	parse func(key, val string) (T, error)
	// fromJSON decodes one member of the file's object.
	fromJSON func(key string, raw json.RawMessage) (T, error)
}

func (v table[T]) String() string {
	if v.p == nil || len(*v.p) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("map[")
	for i, key := range slices.Sorted(maps.Keys(*v.p)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s:%v", key, (*v.p)[key])
	}
	return b.String() + "]"
}

func (v table[T]) Type() string { return v.kind }

func (v table[T]) Set(s string) error {
	key, val, _ := strings.Cut(s, "=")
	parsed, err := v.parse(key, val)
	if err == nil {
		(*v.p)[key] = parsed
	}
	return err
}

func (v table[T]) setJSON(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return fmt.Errorf("must be an object")
	}
	result := map[string]T{}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		parsed, err := v.fromJSON(key, members[key])
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		result[key] = parsed
	}
	*v.p = result
	return nil
}

func unmarshal[T any](_ string, raw json.RawMessage) (parsed T, err error) {
	err = json.Unmarshal(raw, &parsed)
	return parsed, err
}

func pairs(p *map[string]string) value {
	return table[string]{p, "map", func(_, val string) (string, error) { return val, nil }, unmarshal[string]}
}

// switches are named booleans; a name alone means true.
func switches(p *map[string]bool) value {
	parse := func(_, val string) (bool, error) {
		if val == "" {
			return true, nil
		}
		return strconv.ParseBool(val)
	}
	return table[bool]{p, "map", parse, unmarshal[bool]}
}

func ulimits(p *map[string]*units.Ulimit) value {
	parse := func(key, val string) (*units.Ulimit, error) {
		if val == "" {
			return units.ParseUlimit(key) // gives the error for it
		}
		return units.ParseUlimit(key + "=" + val)
	}
	fromJSON := func(key string, raw json.RawMessage) (*units.Ulimit, error) {
		limit, err := unmarshal[*units.Ulimit](key, raw)
		if err != nil {
			return nil, err
		}
		if limit == nil {
			return nil, fmt.Errorf("must be an object")
		}
		// The file names the limit twice; going through the text form checks it.
		return units.ParseUlimit(fmt.Sprintf("%s=%d:%d", key, limit.Soft, limit.Hard))
	}
	return table[*units.Ulimit]{p, "ulimit", parse, fromJSON}
}

// opaque takes any value of an option that nothing here understands.
type opaque struct{ kind, text string }

func (v *opaque) String() string { return v.text }
func (v *opaque) Type() string   { return v.kind }
func (v *opaque) Set(s string) error {
	v.text = s
	return nil
}

func (v *opaque) setJSON(raw json.RawMessage) error {
	v.text = string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		v.text = s
	}
	return nil
}
