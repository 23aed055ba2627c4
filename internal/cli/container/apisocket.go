package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/cli/config"
	"github.com/gantry-run/gantry/internal/cli/create"
	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// Where --use-api-socket puts the credentials.
const credentialDir = "/run/secrets/docker"

// mountAPISocket binds the daemon's socket to where clients look for it.
func mountAPISocket(s *session.Session, spec *create.Spec) error {
	ep, err := s.Endpoint()
	if err != nil {
		return err
	}
	path, ok := strings.CutPrefix(ep.Host, "unix://")
	if !ok {
		return fmt.Errorf("flag --use-api-socket can only be used with unix sockets: docker endpoint %s incompatible", ep.Host)
	}
	spec.Host.Mounts = append(spec.Host.Mounts, mount.Mount{
		Type: mount.TypeBind, Source: path, Target: session.DockerSocket, BindOptions: &mount.BindOptions{},
	})
	if len(s.Config().Auths) > 0 && !hasEnv(spec.Config.Env, "DOCKER_CONFIG") {
		spec.Config.Env = append(spec.Config.Env, "DOCKER_CONFIG="+credentialDir)
	}
	return nil
}

func hasEnv(env []string, name string) bool {
	for _, e := range env {
		if e == name || strings.HasPrefix(e, name+"=") {
			return true
		}
	}
	return false
}

// copyCredentials writes a config.json with the resolved credentials into the
// created container, since its processes cannot run the host's helpers.
func copyCredentials(ctx context.Context, s *session.Session, c *client.Client, id string) error {
	auths := map[string]config.Auth{}
	for server := range s.Config().Auths {
		a, err := credential.Get(s.Config(), server)
		if err != nil {
			return err
		}
		auths[server] = credential.Entry(a)
	}
	if len(auths) == 0 {
		return nil
	}
	doc, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "run/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "run/secrets/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "run/secrets/docker/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "run/secrets/docker/" + config.FileName, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(doc))},
	} {
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	if _, err := tw.Write(doc); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if err := c.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &b}); err != nil {
		return fmt.Errorf("copy credentials into container %s: %w", id, err)
	}
	return nil
}
