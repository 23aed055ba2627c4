package image

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]ocispec.Platform{
		"linux/amd64":    {OS: "linux", Architecture: "amd64"},
		"amd64":          {OS: "linux", Architecture: "amd64"},
		"Linux/x86_64":   {OS: "linux", Architecture: "amd64"},
		"linux/arm/v7":   {OS: "linux", Architecture: "arm", Variant: "v7"},
		"arm/v6":         {OS: "linux", Architecture: "arm", Variant: "v6"},
		"linux/arm64/v8": {OS: "linux", Architecture: "arm64"},
		"windows":        {OS: "windows"},
	} {
		if got, err := ParsePlatform(in); err != nil || got.OS != want.OS || got.Architecture != want.Architecture || got.Variant != want.Variant {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a/b/c/d", "linux//", "foo"} {
		if got, err := ParsePlatform(in); err == nil {
			t.Errorf("%q is accepted: %+v", in, got)
		}
	}
}
