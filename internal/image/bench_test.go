package image

import (
	"context"
	"fmt"
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
		if err := s.PrepareRootfs(context.Background(), key, img); err != nil {
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
		if err := s.PrepareRootfs(context.Background(), fmt.Sprint("k", i), img); err != nil {
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

var _ engine.Progress = (*recorder)(nil)
