// Package image holds the image verbs of the CLI, one file each, and Pull,
// which run and create use too.
package image

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
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
	if arch, ok := architecture(parts[0]); ok && len(parts) < 3 {
		p.Architecture = arch
		parts = parts[1:]
	} else {
		p.OS = parts[0]
		parts = parts[1:]
		if len(parts) > 0 {
			p.Architecture, _ = architecture(parts[0]) // an unknown one is the registry's to judge
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

// architecture resolves the usual other names; false if v is no architecture.
func architecture(v string) (string, bool) {
	switch v {
	case "amd64", "386", "arm64", "arm", "riscv64", "ppc64le", "s390x", "loong64", "mips64", "mips64le":
		return v, true
	case "x86_64", "x86-64":
		return "amd64", true
	case "i386", "i686":
		return "386", true
	case "aarch64":
		return "arm64", true
	case "armhf", "armel":
		return "arm", true
	}
	return v, false
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
