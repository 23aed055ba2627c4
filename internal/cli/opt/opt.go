// Package opt holds the flag value types that Docker's command line has and
// pflag lacks: repeatable lists with validation, key=value maps, byte sizes,
// decimals, filters, ulimits. Each is a pflag.Value whose Type is the word
// that help texts show.
//
// Meaning that needs more than one flag does not belong here (see package
// create), nor anything that talks to a daemon. Values are not safe for
// concurrent use.
package opt

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/docker/go-units"

	"github.com/gantry-run/gantry/internal/client"
)

// List collects a repeatable flag. Check, if set, validates and may normalize
// each value.
type List struct {
	Values []string
	Check  func(string) (string, error)
	Word   string // what Type returns; "" means "list"
}

// String shows the collected values.
func (l *List) String() string {
	if len(l.Values) == 0 {
		return ""
	}
	return fmt.Sprint(l.Values)
}

// Set adds one value.
func (l *List) Set(v string) error {
	if l.Check != nil {
		checked, err := l.Check(v)
		if err != nil {
			return err
		}
		v = checked
	}
	l.Values = append(l.Values, v)
	return nil
}

// Type is the word for the value in help texts.
func (l *List) Type() string {
	if l.Word != "" {
		return l.Word
	}
	return "list"
}

// Map collects key=value pairs; a later key replaces an earlier one. Check
// validates the whole pair.
type Map struct {
	Values map[string]string
	Check  func(string) error
}

// String shows the collected pairs.
func (m *Map) String() string {
	if len(m.Values) == 0 {
		return ""
	}
	return fmt.Sprint(m.Values)
}

// Set adds one pair; without "=" the value is empty.
func (m *Map) Set(v string) error {
	if m.Check != nil {
		if err := m.Check(v); err != nil {
			return err
		}
	}
	if m.Values == nil {
		m.Values = map[string]string{}
	}
	key, val, _ := strings.Cut(v, "=")
	m.Values[key] = val
	return nil
}

// Type is the word for the value in help texts.
func (m *Map) Type() string { return "map" }

// Bytes is a size such as 512m or 2g, in bytes, with binary multiples.
type Bytes int64

// String shows the size as people write it.
func (b *Bytes) String() string {
	if *b == 0 {
		return ""
	}
	return units.BytesSize(float64(*b))
}

// Set parses a size.
func (b *Bytes) Set(v string) error {
	n, err := units.RAMInBytes(v)
	if err == nil {
		*b = Bytes(n)
	}
	return err
}

// Type is the word for the value in help texts.
func (b *Bytes) Type() string { return "bytes" }

// SwapBytes is a size of which -1 means unlimited.
type SwapBytes int64

// String shows the size as people write it.
func (b *SwapBytes) String() string {
	switch *b {
	case 0:
		return ""
	case -1:
		return "-1"
	}
	return units.BytesSize(float64(*b))
}

// Set parses a size or -1.
func (b *SwapBytes) Set(v string) error {
	if v == "-1" {
		*b = -1
		return nil
	}
	n, err := units.RAMInBytes(v)
	if err == nil {
		*b = SwapBytes(n)
	}
	return err
}

// Type is the word for the value in help texts.
func (b *SwapBytes) Type() string { return "bytes" }

// CPUs is a decimal number of CPUs, held in billionths.
type CPUs int64

// String shows the number with its fraction.
func (c *CPUs) String() string {
	if *c == 0 {
		return ""
	}
	return big.NewRat(int64(*c), 1e9).FloatString(3)
}

// Set parses a decimal or a fraction.
func (c *CPUs) Set(v string) error {
	n, err := ParseCPUs(v)
	*c = CPUs(n)
	return err
}

// Type is the word for the value in help texts.
func (c *CPUs) Type() string { return "decimal" }

// ParseCPUs converts a decimal number of CPUs to billionths.
func ParseCPUs(v string) (int64, error) {
	rat, ok := new(big.Rat).SetString(v)
	if !ok {
		return 0, fmt.Errorf("failed to parse %v as a rational number", v)
	}
	nano := rat.Mul(rat, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return 0, errors.New("value is too precise")
	}
	if !nano.Num().IsInt64() {
		return 0, errors.New("value is out of range")
	}
	return nano.Num().Int64(), nil
}

// Filter collects --filter key=value.
type Filter struct{ Values client.Filters }

// String is empty: a filter has no default to show.
func (f *Filter) String() string { return "" }

// Set adds one filter. The key is case-insensitive.
func (f *Filter) Set(v string) error {
	if v == "" {
		return nil
	}
	key, val, ok := strings.Cut(v, "=")
	if !ok {
		return errors.New("bad format of filter (expected name=value)")
	}
	if f.Values == nil {
		f.Values = client.Filters{}
	}
	f.Values.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(val))
	return nil
}

// Type is the word for the value in help texts.
func (f *Filter) Type() string { return "filter" }

// Ulimits collects --ulimit name=soft[:hard]; a later one of the same name wins.
type Ulimits struct{ Values []*units.Ulimit }

// String shows the limits.
func (u *Ulimits) String() string {
	if len(u.Values) == 0 {
		return ""
	}
	return fmt.Sprint(u.Values)
}

// Set adds one limit.
func (u *Ulimits) Set(v string) error {
	limit, err := units.ParseUlimit(v)
	if err != nil {
		return err
	}
	for i, have := range u.Values {
		if have.Name == limit.Name {
			u.Values[i] = limit
			return nil
		}
	}
	u.Values = append(u.Values, limit)
	return nil
}

// Type is the word for the value in help texts.
func (u *Ulimits) Type() string { return "ulimit" }
