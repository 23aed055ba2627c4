package opt

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCPUs(t *testing.T) {
	for in, want := range map[string]int64{"1.5": 15e8, "0.000000001": 1, "2": 2e9, "1/2": 5e8} {
		if got, err := ParseCPUs(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "", "0.0000000001", "99999999999999999999"} {
		if got, err := ParseCPUs(in); err == nil {
			t.Errorf("%q is accepted as %d", in, got)
		}
	}
}

func TestSizes(t *testing.T) {
	var b Bytes
	if err := b.Set("1.5g"); err != nil || b != 1610612736 || b.String() != "1.5GiB" {
		t.Errorf("1.5g: %d %q %v", b, b.String(), err)
	}
	if err := b.Set("x"); err == nil || b != 1610612736 {
		t.Errorf("a bad size changed the value to %d, error %v", b, err)
	}
	var s SwapBytes
	if err := s.Set("-1"); err != nil || s != -1 || s.String() != "-1" {
		t.Errorf("-1: %d %q %v", s, s.String(), err)
	}
}

func TestFilterCollects(t *testing.T) {
	var f Filter
	for _, v := range []string{"Label=a=b", "label=c", " name = x "} {
		if err := f.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	if !f.Values["label"]["a=b"] || !f.Values["label"]["c"] || !f.Values["name"]["x"] {
		t.Errorf("%v", f.Values)
	}
	if err := f.Set("foo"); err == nil || err.Error() != "bad format of filter (expected name=value)" {
		t.Errorf("%v", err)
	}
}

func TestUlimitsLastWins(t *testing.T) {
	var u Ulimits
	for _, v := range []string{"nofile=1:2", "nproc=3", "nofile=4"} {
		if err := u.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	if len(u.Values) != 2 || u.Values[0].Soft != 4 || u.Values[0].Hard != 4 {
		t.Errorf("%v", u.Values)
	}
}

func TestEnvCheck(t *testing.T) {
	t.Setenv("GANTRY_TEST_VAR", "v")
	for in, want := range map[string]string{"A=b": "A=b", "A=": "A=", "GANTRY_TEST_VAR": "GANTRY_TEST_VAR=v", "GANTRY_TEST_UNSET": "GANTRY_TEST_UNSET"} {
		if got, err := EnvCheck(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := EnvCheck("=x"); err == nil {
		t.Error("=x is accepted")
	}
}

func TestParseLines(t *testing.T) {
	lookup := func(k string) (string, bool) { return "found", k == "SET" }
	got, err := parseLines("f", []byte("\ufeffA=1\n# no\n\n  B= two \r\nSET\nUNSET\nC=#x\n"), lookup)
	if want := []string{"A=1", "B= two ", "SET=found", "C=#x"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for in, want := range map[string]string{
		"=x":     "invalid env file (f): no variable name on line '=x'",
		"B = 2":  "invalid env file (f): variable 'B ' contains whitespaces",
		"A=\xff": "invalid env file (f): invalid utf8 bytes at line 1: [65 61 255]",
	} {
		if _, err := parseLines("f", []byte(in), lookup); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func FuzzParseLines(f *testing.F) {
	f.Add([]byte("A=1\n#c\n B\n"))
	f.Add([]byte("\xef\xbb\xbfA=\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := parseLines("f", data, func(string) (string, bool) { return "v", true })
		if err != nil {
			return
		}
		for _, l := range lines {
			if name, _, ok := strings.Cut(l, "="); !ok || name == "" || strings.ContainsAny(name, " \t\n") {
				t.Errorf("bad line %q", l)
			}
		}
	})
}

func TestLabelCheck(t *testing.T) {
	for label, want := range map[string]string{
		"a=b c": "", "a": "", "a b=c": "label 'a b' contains whitespaces", "a\tb": "label 'a\tb' contains whitespaces",
		" =c": "invalid label ' =c': empty name", "": "invalid label '': empty name",
	} {
		got, err := LabelCheck(label)
		switch {
		case want == "" && (err != nil || got != label):
			t.Errorf("%q: %q, %v", label, got, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%q: %v, want %s", label, err, want)
		}
	}
}
