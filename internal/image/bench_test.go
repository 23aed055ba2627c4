package image

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/testimage"
)

func benchService(b *testing.B) (*Service, string) {
	srv, reg := startRegistry(b, testimage.ServerOptions{})
	img, err := testimage.Layered(testimage.OCI)
	publishImage(b, reg, "bench", "1", img, err)
	s := openService(b, Options{})
	ref := srv.Host + "/bench:1"
	s.mustPull(b, ref)
	return s, ref
}

// The start path: what a container's creation and removal cost here.
func BenchmarkResolve(b *testing.B) {
	s, ref := benchService(b)
	for b.Loop() {
		if _, err := s.Resolve(context.Background(), ref, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepareRemove(b *testing.B) {
	s, ref := benchService(b)
	img, err := s.Resolve(context.Background(), ref, nil)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		key := fmt.Sprint("k", i)
		if err := s.PrepareRootfs(context.Background(), key, img, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := s.RootfsMounts(context.Background(), key); err != nil {
			b.Fatal(err)
		}
		if err := s.RemoveRootfs(context.Background(), key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s, ref := benchService(b)
	img, err := s.Resolve(context.Background(), ref, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		if err := s.PrepareRootfs(context.Background(), fmt.Sprint("k", i), img, nil); err != nil {
			b.Fatal(err)
		}
	}
	root := s.opts.Root
	closeService(s)
	for b.Loop() {
		s, err := New(context.Background(), Options{Root: root})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// manyFiles has layers of files that compress to half.
func manyFiles(b *testing.B, layers, files, size int) testimage.Image {
	b.Helper()
	var all []testimage.Layer
	for i := range layers {
		var in []testimage.File
		for j := range files {
			body := make([]byte, size)
			src := rand.NewChaCha8([32]byte{byte(i), byte(j), byte(j >> 8)})
			_, _ = src.Read(body[:size/2]) // never fails
			in = append(in, testimage.File{Name: fmt.Sprintf("d%d/f%d", i, j), Body: body})
		}
		l, err := testimage.NewLayer(testimage.Gzip, in...)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, l)
	}
	img, err := testimage.New(testimage.Spec{Layers: all})
	if err != nil {
		b.Fatal(err)
	}
	return img
}

// A pull of 192 MB in 6,400 files and 8 layers, from a registry on loopback.
func BenchmarkPull(b *testing.B) {
	srv, reg := startRegistry(b, testimage.ServerOptions{})
	publishImage(b, reg, "many", "1", manyFiles(b, 8, 800, 30_000), nil)
	for b.Loop() {
		s := openService(b, Options{})
		s.mustPull(b, srv.Host+"/many:1")
		b.StopTimer()
		closeService(s)
		if err := os.RemoveAll(s.opts.Root); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

var _ engine.Progress = (*recorder)(nil)
