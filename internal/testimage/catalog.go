package testimage

import (
	"fmt"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// defaultPath is the PATH of Docker's own images.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Busybox is a one-layer image whose command is sh. extra files come on top, in
// a second layer.
func Busybox(f Flavour, c Compression, extra ...File) (Image, error) {
	files, err := BusyboxFiles()
	if err != nil {
		return Image{}, err
	}
	return assemble(f, dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{Env: []string{defaultPath}, Cmd: []string{"sh"}},
	}, stack{c, files}, stack{c, extra})
}

// Layered is an image of five layers in every compression (gzip only where the
// flavour has no zstd). Layers change, whiten out and replace what is below:
//
//	/layers/keep     "bottom"    from the first to the last
//	/layers/changed  "top"       "bottom" below
//	/layers/gone                 removed by a whiteout
//	/layers/opaque/  only "new"  an opaque directory hides "old"
//	/layers/turned/              a file that became a directory
func Layered(f Flavour) (Image, error) {
	files, err := BusyboxFiles()
	if err != nil {
		return Image{}, err
	}
	other := Zstd
	if f == Docker {
		other = Gzip
	}
	return assemble(f, dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{Env: []string{defaultPath}, Cmd: []string{"sh"}},
	},
		stack{Gzip, files},
		stack{other, []File{
			{Name: "layers/"}, {Name: "layers/keep", Body: []byte("bottom\n")},
			{Name: "layers/changed", Body: []byte("bottom\n")}, {Name: "layers/gone", Body: []byte("bottom\n")},
			{Name: "layers/opaque/"}, {Name: "layers/opaque/old", Body: []byte("bottom\n")},
			{Name: "layers/turned", Body: []byte("bottom\n")},
		}},
		stack{Uncompressed, []File{{Name: "layers/"}, {Name: "layers/.wh.gone"}, {Name: "layers/changed", Body: []byte("top\n")}}},
		stack{Gzip, []File{
			{Name: "layers/"}, {Name: "layers/opaque/"}, {Name: "layers/opaque/.wh..wh..opq"},
			{Name: "layers/opaque/new", Body: []byte("top\n")},
		}},
		stack{other, []File{{Name: "layers/"}, {Name: "layers/turned/"}, {Name: "layers/turned/file", Body: []byte("top\n")}}},
	)
}

// App is an image that sets everything a config can: user, environment, working
// directory, entry point, command, port, volume with content, labels, stop
// signal and health check. Its entry point prints its arguments, or runs them
// after "exec".
func App(f Flavour) (Image, error) {
	files, err := BusyboxFiles()
	if err != nil {
		return Image{}, err
	}
	entry := "#!/bin/sh\nif [ \"$1\" = exec ]; then shift; exec \"$@\"; fi\necho \"args: $*\"\necho \"user: $(id -u):$(id -g)\"\necho \"dir: $(pwd)\"\necho \"env: $GREETING\"\n"
	return assemble(f, dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: "app", WorkingDir: "/srv/app", StopSignal: "SIGQUIT",
			Env:          []string{defaultPath, "GREETING=hello from the image"},
			Entrypoint:   []string{"/bin/entry"},
			Cmd:          []string{"default", "arguments"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			Volumes:      map[string]struct{}{"/data": {}},
			Labels:       map[string]string{"org.example.purpose": "testing", "org.example.level": "1"},
		},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{
			Healthcheck: &dockerspec.HealthcheckConfig{
				Test: []string{"CMD-SHELL", "test -e /tmp/healthy"}, Interval: time.Second, Timeout: 5 * time.Second, Retries: 2,
			},
		},
	},
		stack{Gzip, files},
		stack{Gzip, []File{
			{Name: "bin/"}, {Name: "bin/entry", Mode: 0o755, Body: []byte(entry)},
			{Name: "data/", UID: 1000, GID: 1000}, {Name: "data/seed", Body: []byte("from the image\n"), UID: 1000, GID: 1000},
			{Name: "srv/"}, {Name: "srv/app/", UID: 1000, GID: 1000},
		}},
	)
}

// Platforms are two images for an index: this machine's busybox and one for
// another architecture, which holds only /etc/arch. Both have that file.
func Platforms(f Flavour) ([]Image, error) {
	native, err := Busybox(f, Gzip, File{Name: "etc/"}, File{Name: "etc/arch", Body: []byte("native\n")})
	if err != nil {
		return nil, err
	}
	layer, err := NewLayer(Gzip, File{Name: "etc/"}, File{Name: "etc/arch", Body: []byte("foreign\n")})
	if err != nil {
		return nil, err
	}
	foreign, err := New(Spec{
		Flavour: f, Platform: ocispec.Platform{OS: "linux", Architecture: "s390x"},
		Config: dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"/bin/true"}}},
		Layers: []Layer{layer},
	})
	return []Image{native, foreign}, err
}

// Bare is an image without a command and with a single file that no kernel can
// execute.
func Bare(f Flavour) (Image, error) {
	return assemble(f, dockerspec.DockerOCIImageConfig{}, stack{Gzip, []File{
		{Name: "data", Body: []byte("not a program\n")}, {Name: "noexec", Mode: 0o644, Body: []byte("#!/bin/sh\n")},
	}})
}

type stack struct {
	compression Compression
	files       []File
}

// assemble packs the stacks that hold files and makes an image of them.
func assemble(f Flavour, config dockerspec.DockerOCIImageConfig, stacks ...stack) (Image, error) {
	var layers []Layer
	for i, s := range stacks {
		if len(s.files) == 0 {
			continue
		}
		l, err := NewLayer(s.compression, s.files...)
		if err != nil {
			return Image{}, fmt.Errorf("layer %d: %w", i, err)
		}
		layers = append(layers, l)
	}
	return New(Spec{Flavour: f, Config: config, Layers: layers})
}
