package create

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// addVolumes sorts -v and --tmpfs into anonymous volumes, binds and tmpfs mounts.
func (f *Flags) addVolumes(cfg *container.Config, host *container.HostConfig) error {
	for _, v := range f.volumes.Values {
		bind, err := parseVolume(v)
		if err != nil {
			return err
		}
		if bind == "" {
			cfg.Volumes[v] = struct{}{}
		} else {
			host.Binds = append(host.Binds, bind)
		}
	}
	for _, t := range f.tmpfs.Values {
		if host.Tmpfs == nil {
			host.Tmpfs = map[string]string{}
		}
		dir, opts, _ := strings.Cut(t, ":")
		host.Tmpfs[dir] = opts
	}
	return nil
}

// parseVolume reads a -v value. It returns the bind to send, or "" for an
// anonymous volume. Whether the mode and the paths make sense is the daemon's
// to say.
func parseVolume(v string) (bind string, err error) {
	if v == "" {
		return "", errors.New("invalid empty volume spec")
	}
	source, rest, hasSource := strings.Cut(v, ":")
	if !hasSource {
		return "", nil
	}
	for part := range strings.SplitSeq(v, ":") {
		if part == "" {
			return "", fmt.Errorf("invalid spec: %s: empty section between colons", v)
		}
	}
	if source, err = absDotted(source); err != nil {
		return "", err
	}
	return source + ":" + rest, nil
}
