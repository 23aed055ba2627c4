package opt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// KeyValues reads the files of key=value lines, in order, and appends the
// values given on the command line.
func KeyValues(files, given []string, lookup func(string) (string, bool)) ([]string, error) {
	var all []string
	for _, name := range files {
		lines, err := readLines(name, lookup)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return append(all, given...), nil
}

// EnvCheck gives a bare variable name its value from the environment. A name
// that is not set there stays bare: it tells the daemon to unset it.
func EnvCheck(v string) (string, error) {
	name, _, ok := strings.Cut(v, "=")
	if name == "" {
		return "", errors.New("invalid environment variable: " + v)
	}
	if ok {
		return v, nil
	}
	if val, set := os.LookupEnv(name); set {
		return name + "=" + val, nil
	}
	return v, nil
}

// LabelCheck refuses a label without a name, or with white space in it.
func LabelCheck(v string) (string, error) {
	name, _, _ := strings.Cut(v, "=")
	switch {
	case strings.TrimSpace(name) == "":
		return "", fmt.Errorf("invalid label '%s': empty name", v)
	case strings.ContainsAny(name, " \t"):
		return "", fmt.Errorf("label '%s' contains whitespaces", name)
	}
	return v, nil
}

// ToMap turns key=value strings into a map; a later key wins.
func ToMap(values []string) map[string]string {
	m := make(map[string]string, len(values))
	for _, v := range values {
		key, val, _ := strings.Cut(v, "=")
		m[key] = val
	}
	return m
}

func readLines(name string, lookup func(string) (string, bool)) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseLines(name, data, lookup)
}

var byteOrderMark = []byte{0xEF, 0xBB, 0xBF}

// parseLines reads an env or label file: blank lines and lines that begin
// with # are ignored, a name without "=" takes its value from lookup or is
// dropped, and a name may not contain white space.
func parseLines(name string, data []byte, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	scan := bufio.NewScanner(bytes.NewReader(data))
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		raw := scan.Bytes()
		if n == 1 {
			raw = bytes.TrimPrefix(raw, byteOrderMark)
		}
		if !utf8.Valid(raw) {
			return nil, fmt.Errorf("invalid env file (%s): invalid utf8 bytes at line %d: %v", name, n, raw)
		}
		line := strings.TrimLeftFunc(string(raw), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, hasValue := strings.Cut(line, "=")
		key = strings.TrimLeft(key, " \t")
		switch {
		case key == "":
			return nil, fmt.Errorf("invalid env file (%s): no variable name on line '%s'", name, line)
		case strings.ContainsAny(key, " \t"):
			return nil, fmt.Errorf("invalid env file (%s): variable '%s' contains whitespaces", name, key)
		case hasValue:
			out = append(out, line)
		default:
			if lookup == nil {
				continue
			}
			if val, ok := lookup(key); ok {
				out = append(out, key+"="+val)
			}
		}
	}
	return out, scan.Err()
}
