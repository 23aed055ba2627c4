package e2e

import (
	"crypto/rand"
	"io"
	"testing"

	"github.com/gantry-run/gantry/internal/testimage"
)

// uniqueImage is unique in the form that every engine takes.
func uniqueImage(t *testing.T) (testimage.Image, string) {
	t.Helper()
	return unique(t, testimage.Docker, testimage.Gzip)
}

// makeBig writes an archive of an image with that many bytes that do not compress.
func makeBig(t *testing.T, file string, size int) {
	t.Helper()
	noise := make([]byte, size)
	_, _ = rand.Read(noise) // documented never to fail
	layer, err := testimage.NewLayer(testimage.Gzip, testimage.File{Name: "noise", Body: noise})
	if err != nil {
		t.Fatal(err)
	}
	img, err := testimage.New(testimage.Spec{Flavour: testimage.Docker, Layers: []testimage.Layer{layer}})
	if err != nil {
		t.Fatal(err)
	}
	tagged := testimage.Tagged{Image: img, Names: []string{"big:latest"}}
	if err := testimage.WriteFile(file, func(w io.Writer) error { return testimage.WriteDockerArchive(w, tagged) }); err != nil {
		t.Fatal(err)
	}
}
