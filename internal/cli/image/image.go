// Package image holds the image verbs of the CLI, one file each, and Pull,
// which run and create use too.
package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
)

// New makes the noun with its verbs.
func New(s *session.Session) *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Manage images", Args: session.NoArgs}
	cmd.AddCommand(
		NewHistory(s), newInspect(s), NewLoad(s), NewList(s, "ls"), newPrune(s), NewPull(s), NewPush(s),
		NewRemove(s, "rm"), NewSave(s), NewTag(s), NewImport(s),
	)
	return cmd
}

func aliases(names ...string) map[string]string {
	return map[string]string{session.AliasesKey: strings.Join(names, ",")}
}

// ParsePlatform reads os[/arch[/variant]] or arch[/variant], with the usual
// other names of architectures.
func ParsePlatform(v string) (*ocispec.Platform, error) {
	parts := strings.Split(strings.ToLower(v), "/")
	p := &ocispec.Platform{OS: "linux"}
	bad := func() error {
		return fmt.Errorf("error parsing specified platform: %q: cannot parse platform specifier: invalid argument", v)
	}
	if len(parts) > 3 || slices.Contains(parts, "") {
		return nil, bad()
	}
	if arch, ok := architectures[parts[0]]; ok && len(parts) < 3 {
		p.Architecture = arch
		parts = parts[1:]
	} else {
		p.OS = parts[0]
		parts = parts[1:]
		if len(parts) > 0 {
			p.Architecture = parts[0]
			if arch, ok := architectures[parts[0]]; ok {
				p.Architecture = arch
			}
			parts = parts[1:]
		}
	}
	if len(parts) == 1 {
		p.Variant = parts[0]
	}
	if p.Architecture == "arm64" && (p.Variant == "v8" || p.Variant == "8") {
		p.Variant = ""
	}
	if p.OS != "linux" && p.OS != "windows" && p.OS != "darwin" && p.OS != "freebsd" {
		return nil, bad()
	}
	return p, nil
}

var architectures = map[string]string{
	"amd64": "amd64", "x86_64": "amd64", "x86-64": "amd64", "386": "386", "i386": "386", "i686": "386",
	"arm64": "arm64", "aarch64": "arm64", "arm": "arm", "armhf": "arm", "armel": "arm", "riscv64": "riscv64",
	"ppc64le": "ppc64le", "s390x": "s390x", "loong64": "loong64", "mips64": "mips64", "mips64le": "mips64le",
}

func parsePlatforms(values []string) ([]ocispec.Platform, error) {
	var out []ocispec.Platform
	for _, v := range values {
		p, err := ParsePlatform(v)
		if err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, nil
}

// completeImages completes image names. limit is the number of arguments
// that take one, 0 for all.
func completeImages(s *session.Session, limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := s.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.ImageList(cmd.Context(), client.ImageListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, img := range list.Items {
			for _, tag := range img.RepoTags {
				if !slices.Contains(args, tag) {
					names = append(names, tag)
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
