package create

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseVolume(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want, err string }{
		{"/a", "", ""},
		{"name", "", ""},
		{"/a:/b", "/a:/b", ""},
		{"name:/b:ro,z", "name:/b:ro,z", ""},
		{"./a:/b", filepath.Join(wd, "a") + ":/b", ""},
		{".:/b", wd + ":/b", ""},
		{"../a:/b", filepath.Join(filepath.Dir(wd), "a") + ":/b", ""},
		{"~/a:/b", "~/a:/b", ""},
		{".hidden:/b", ".hidden:/b", ""},
		{"a:b:c:d", "a:b:c:d", ""}, // the daemon refuses it
		{"", "", "invalid empty volume spec"},
		{":/b", "", "invalid spec: :/b: empty section between colons"},
		{"/a:", "", "invalid spec: /a:: empty section between colons"},
	} {
		got, err := parseVolume(c.in)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: error %v, want %q", c.in, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func FuzzParseVolume(f *testing.F) {
	f.Add("/a:/b:ro")
	f.Add("./x:/y")
	f.Add("::")
	f.Fuzz(func(t *testing.T, in string) {
		bind, err := parseVolume(in)
		if err == nil && bind != "" && !strings.Contains(bind, ":") {
			t.Errorf("%q gives a bind without target: %q", in, bind)
		}
	})
}
