package render

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Ago says how long ago a Unix time was.
func Ago(unix int64) string {
	return units.HumanDuration(time.Now().UTC().Sub(time.Unix(unix, 0))) + " ago"
}

// Size is a size in bytes as people read it, with three digits.
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// Labels joins labels as key=value, in order of the keys.
func Labels(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	for i, k := range SortedKeys(m) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k + "=" + m[k])
	}
	return b.String()
}

// SortedKeys gives the keys of m in order.
func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// HumanSize is a reclaimed or transferred size, with four digits.
func HumanSize(n uint64) string { return units.HumanSize(float64(n)) }

// CompareNatural orders names as people do: digits by their number.
func CompareNatural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), cmp.Compare(na, nb), cmp.Compare(da, db)); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// Count shows a number.
func Count(n int64) string { return strconv.FormatInt(n, 10) }
