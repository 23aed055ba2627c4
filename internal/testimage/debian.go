package testimage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// suite is the Debian release of the images: the one of the test machines.
const suite = "bookworm"

// Debian is a minimal Debian with the packages, made by mmdebstrap from the
// machine's apt sources. The root file system is cached in CacheDir.
func Debian(f Flavour, packages ...string) (Image, error) {
	packages = slices.Sorted(slices.Values(packages))
	raw, err := debianRootfs(packages)
	if err != nil {
		return Image{}, fmt.Errorf("make Debian image: %w", err)
	}
	layer, err := LayerFromTar(Gzip, raw)
	if err != nil {
		return Image{}, err
	}
	return New(Spec{Flavour: f, Layers: []Layer{layer}, Config: dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{Env: []string{defaultPath}, Cmd: []string{"bash"}},
	}})
}

func debianRootfs(packages []string) ([]byte, error) {
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(suite + " " + strings.Join(packages, " ")))
	cached := filepath.Join(dir, "debian-"+hex.EncodeToString(sum[:6])+".tar")
	if raw, err := os.ReadFile(cached); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	tmp := cached + fmt.Sprintf(".%d.tar", os.Getpid())
	defer os.Remove(tmp)
	args := []string{"--variant=minbase", "--mode=root", "--quiet", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"}
	if len(packages) > 0 {
		args = append(args, "--include="+strings.Join(packages, ","))
	}
	cmd := exec.Command("mmdebstrap", append(args, suite, tmp)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1704067200", "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mmdebstrap: %w: %s", err, out)
	}
	if err := os.Rename(tmp, cached); err != nil {
		return nil, err
	}
	return os.ReadFile(cached)
}
