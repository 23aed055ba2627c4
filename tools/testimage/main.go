// Command testimage writes the test images for use from a shell:
//
//	testimage -o busybox.tar busybox            a Docker archive
//	testimage -format oci -o l.tar layered      an OCI archive
//	testimage -push http://127.0.0.1:5000 app   to a registry, as app:latest
//	testimage -debian nginx-light -name web:1 -o web.tar debian
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gantry-run/gantry/internal/testimage"
)

func main() {
	var (
		format = flag.String("format", "docker", "archive format: docker or oci")
		out    = flag.String("o", "", "archive `file`; - is standard output")
		push   = flag.String("push", "", "registry `URL` to push to")
		name   = flag.String("name", "", "name of the image; the kind's own if empty")
		debian = flag.String("debian", "", "`packages` of a Debian image, separated by commas")
	)
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: testimage [flags] busybox|layered|app|bare|debian")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 || (*out == "") == (*push == "") {
		flag.Usage()
		os.Exit(2)
	}
	if *name == "" {
		*name = flag.Arg(0) + ":latest"
	}
	if err := run(flag.Arg(0), *format, *out, *push, *name, *debian); err != nil {
		fmt.Fprintln(os.Stderr, "testimage:", err)
		os.Exit(1)
	}
}

func run(kind, format, out, push, name, debian string) error {
	flavour, write := testimage.Docker, testimage.WriteDockerArchive
	if format == "oci" {
		flavour, write = testimage.OCI, testimage.WriteOCIArchive
	}
	img, err := build(kind, flavour, debian)
	if err != nil {
		return err
	}
	if push != "" {
		repo, tag, _ := strings.Cut(name, ":")
		return testimage.Registry{URL: push}.Push(context.Background(), repo, tag, img)
	}
	tagged := testimage.Tagged{Image: img, Names: []string{name}}
	if out == "-" {
		return write(os.Stdout, tagged)
	}
	return testimage.WriteFile(out, func(w io.Writer) error { return write(w, tagged) })
}

func build(kind string, f testimage.Flavour, debian string) (testimage.Image, error) {
	switch kind {
	case "busybox":
		return testimage.Busybox(f, testimage.Gzip)
	case "layered":
		return testimage.Layered(f)
	case "app":
		return testimage.App(f)
	case "bare":
		return testimage.Bare(f)
	case "debian":
		return testimage.Debian(f, strings.FieldsFunc(debian, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return testimage.Image{}, fmt.Errorf("unknown image %q", kind)
}
