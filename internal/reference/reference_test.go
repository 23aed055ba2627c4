package reference

import (
	_ "crypto/sha256" // the oracle knows only algorithms that are linked
	_ "crypto/sha512"
	"strings"
	"testing"

	oracle "github.com/distribution/reference"
)

const (
	hex64  = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"
	sha256 = "sha256:" + hex64
)

// inputs are what the table compares and what the fuzzer starts from.
var inputs = []string{
	// Names and where they lie.
	"", "a", "alpine", "alpine:3.20", "library/alpine", "user/app", "docker.io/alpine", "docker.io/library/alpine", "docker.io/user/app",
	"index.docker.io/alpine", "index.docker.io/user/app", "index.docker.io", "docker.io", "docker.io/", "docker.io/library", "docker.io/library/",
	"docker.io/library/a/b", "library/a/b", "library", "library/", "library/library", "/", "//", "/alpine", "alpine/", "a//b", "a/b//c", "a/b/",
	"localhost", "localhost/app", "localhost:5000/app", "localhost:5000", "LOCALHOST/app", "localhosts/app", "LocalDomain/app", "Docker/app",
	"DOCKER/app",
	"docker/App", "docker.io/App", "App", "example.com/App", "example.com/app", "example.com:80/app:1", "EXAMPLE.com/app", "example.com./app",
	".example.com/app", "exa..mple.com/app", "-a.com/app", "a-.com/app", "a-b.com/app", "a_b.com/app", "A_b.com/app", "A_b.com/App",
	"a.b_/app", "a.b__c/app",
	"xn--n3h.com/app:xn--n3h.com", "192.168.1.1", "192.168.1.1:80", "192.168.1.1/app", "192.168.1.1:80/app:5050", "a:/b", "a:x/b", "a:1/b:/c",
	"a:1:2/b", "a:1",
	":1/b", ":/b", "a.:1/b", "1/2", "1.2/3", "b.gcr.io/test.example.com/my-app:test.example.com", "sub-dom1.foo.com/bar/baz/quux:some-long-tag",

	// Addresses.
	"[::1]/app", "[::1]:5000/app", "[::1]:5000/app:1@" + sha256, "[::1]", "[::1]:5000", "[::1]:x/app", "[::1]x/app", "[::1]:/app", "[]/app",
	"[]:1/app",
	"[2001:db8::]:5000/app", "[2001:DB8::1]/app", "[fe80::1%eth0]/app", "[::ffff:1.2.3.4]/app", "[::1/app", "::1/app", "::1:5000/app",
	"[[::1]]/app", "[::1]]/app",

	// Separators.
	"a.b", "a..b", "a_b", "a__b", "a___b", "a-b", "a--b", "a-----b", "a._b", "a-_b", "a_.b", "a-.b", "_a", "a_", "-a", "a-", ".a", "a.", "__",
	"a__", "a/_b", "a/b_",
	"a/b-/c", "____/____", "a b", "a+b", "a%b", "a$b", "a,b", "a\nb", "alpine\n", "\nalpine", "alpine ", " alpine", "a\x00b", "a\\b",
	"https://example.com/app",

	// Tags.
	"a:", "a:b", "a:B", "a:_", "a:.b", "a:-b", "a:b.c-d_e", "a:b:c", "a::b", "a:b/c", "a:b/c:d", "a:b/C", "a:ü",
	"a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129),
	"a/b:C/D", "a.b/c:d/E", ":tag", "a:b@", "a@", "@", ":", "a:@" + sha256, "a@b", "a@b:c", "a:tag ", "a:5000/App/low:tag",
	"test:5000/Uppercase/lowercase:tag",

	// Digests.
	hex64, strings.ToUpper(hex64), hex64[1:], hex64 + "0", hex64 + ":tag", "docker.io/" + hex64, "library/" + hex64, hex64[:63] + "g", sha256,
	strings.ToUpper(sha256),
	"a@" + sha256, "a:b@" + sha256, "A@" + sha256, "a@" + sha256[:len(sha256)-1], "a@" + sha256 + "0", "a@" + strings.ToUpper(sha256),
	"a@sha256:" + strings.ToUpper(hex64),
	"a@sha256:" + hex64[:31], "a@sha256:" + hex64[:32], "a@sha256:" + hex64[:34], "a@sha256:", "a@sha256", "a@:" + hex64, "a@@" + sha256,
	"a@" + sha256 + "@" + sha256,
	"a@sha384:" + hex64 + hex64[:32], "a@sha512:" + hex64 + hex64, "a@sha512:" + hex64, "a@sha384:" + hex64, "sha384:" + hex64 + hex64[:32],
	"sha512:" + hex64 + hex64,
	"sha512:" + hex64, "sha1:" + hex64[:40], "md5:" + hex64[:32], "a@md5:" + hex64[:32], "a@Md5:" + hex64[:32], "a@md5+b64:" + hex64,
	"a@md5+:" + hex64, "a@+md5:" + hex64,
	"a@md5+5:" + hex64, "a@5md:" + hex64, "a@m.d_5-x:" + hex64, "a@m.d-x+y:" + hex64, "a@md5..x:" + hex64, "a@sha256:" + hex64[:63] + "g",
	"a@sha256:" + hex64[:63] + "G",
	"a@sha256:sha256:" + hex64, "a@sha256:" + hex64 + "/b", "a/b@" + sha256, "a/b:c@" + sha256, "a@" + sha256 + ":tag", "@" + sha256,
	":t@" + sha256, "md5:" + hex64, "sha256:" + strings.ToUpper(hex64),

	// Lengths.
	strings.Repeat("a", 247), strings.Repeat("a", 248), strings.Repeat("a", 255), strings.Repeat("a", 256),
	"user/" + strings.Repeat("a", 250), "user/" + strings.Repeat("a", 251),
	"example.com/" + strings.Repeat("a", 255), "example.com/" + strings.Repeat("a", 256), strings.Repeat("d", 300) + ".com/a",
	"example.com/" + strings.Repeat("a/", 128) + "a",
	strings.Repeat("a", 256) + "@md5:" + hex64, strings.Repeat("a", 256) + "@" + sha256, strings.Repeat("a/", 127) + "a:tag-puts-this-over-max",

	// What is not ASCII: İ and K (Kelvin) become ASCII when lowered.
	"ä", "Ä", "ä/b", "Ä/b", "a.ä/b", "\u0130", "\u212a", "\u212a.com/a", "\u0130.com/a", "a.com/\u212a", "a:\u212a", "a@\u212a",
	"a.com\u212a:1/b:T", "\xff", "\xff/a", "a.\xff/b", "a:\xff",
	"a.com/b:\xff", "☃.com/a", "a\u200bb", "ａ",
}

func TestParseIsDistributions(t *testing.T) {
	for _, s := range inputs {
		compare(t, s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range inputs {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { compare(t, s) })
}

// compare holds Parse and ParseAny against distribution/reference.
func compare(t *testing.T, s string) {
	t.Helper()
	got, err := Parse(s)
	want, wantErr := oracle.ParseNormalizedNamed(s)
	if text(err) != text(wantErr) {
		t.Errorf("Parse(%q): error %q, want %q", s, text(err), text(wantErr))
		return
	}
	if err == nil {
		compareNamed(t, s, got, want)
	}

	got, err = ParseAny(s)
	wantAny, wantErr := oracle.ParseAnyReference(s)
	if text(err) != text(wantErr) {
		t.Errorf("ParseAny(%q): error %q, want %q", s, text(err), text(wantErr))
		return
	}
	if err != nil {
		return
	}
	want, named := wantAny.(oracle.Named)
	if named != got.HasName() || got.String() != wantAny.String() || got.Familiar() != oracle.FamiliarString(wantAny) {
		t.Errorf("ParseAny(%q): %#v, want %q", s, got, wantAny)
	}
	if named {
		compareNamed(t, s, got, want)
	} else if got.WithDefaultTag() != got {
		t.Errorf("ParseAny(%q): a digest got a tag", s)
	}
}

func compareNamed(t *testing.T, s string, got Ref, want oracle.Named) {
	t.Helper()
	check := func(what, got, want string) {
		if got != want {
			t.Errorf("%q: %s %q, want %q", s, what, got, want)
		}
	}
	check("string", got.String(), want.String())
	check("name", got.Name(), want.Name())
	check("domain", got.Domain, oracle.Domain(want))
	check("path", got.Path, oracle.Path(want))
	check("familiar name", got.FamiliarName(), oracle.FamiliarName(want))
	check("familiar string", got.Familiar(), oracle.FamiliarString(want))
	check("with default tag", got.WithDefaultTag().String(), oracle.TagNameOnly(want).String())
	tag, digest := "", ""
	if r, ok := want.(oracle.Tagged); ok {
		tag = r.Tag()
	}
	if r, ok := want.(oracle.Digested); ok {
		digest = r.Digest().String()
	}
	check("tag", got.Tag, tag)
	check("digest", got.Digest, digest)
	if got.IsNameOnly() != oracle.IsNameOnly(want) {
		t.Errorf("%q: name only %v", s, got.IsNameOnly())
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
