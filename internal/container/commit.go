package container

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Commit makes an image of a container. A running one stands still meanwhile,
// unless the request says otherwise.
func (s *Service) Commit(ctx context.Context, id string, req engine.ContainerCommit) (string, error) {
	c, err := s.find(id)
	if err != nil {
		return "", err
	}
	if r := c.view(); r.State.Status == container.StateRunning && !req.NoPause {
		if err := s.Pause(ctx, r.ID); err != nil && !errs.Is(err, errs.Conflict) { // it may have ended
			return "", err
		}
		defer func() {
			err := s.Unpause(context.WithoutCancel(ctx), r.ID)
			if err != nil && !errs.Is(err, errs.Conflict) {
				s.Log.WarnContext(ctx, "unpause container after commit", "container", r.ID, "error", err)
			}
		}()
	}
	r := c.view()
	config := req.Config
	if config == nil {
		config = r.Config
	}
	image, err := imageConfig(config, r.Config)
	if err != nil {
		return "", err
	}
	own, err := s.ownPaths(ctx, r.ID)
	if err != nil {
		return "", err
	}
	made, err := s.Images.Commit(ctx, engine.ImageCommit{
		Key: r.ID, Skip: own, Config: image, Changes: req.Changes, Ref: req.Ref, Author: req.Author, Comment: req.Comment,
		CreatedBy: strings.Join(r.Config.Cmd, " "),
	})
	if err != nil {
		return "", err
	}
	s.publish(&r, events.ActionCommit, "comment", req.Comment, "imageID", made, "imageRef", familiar(req.Ref))
	return made, nil
}

// familiar is an image's name without what goes without saying.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// imageConfig is a configuration as an image holds it. What it leaves open is the
// container's.
func imageConfig(c, own *container.Config) (out dockerspec.DockerOCIImageConfig, err error) {
	merged := *c
	if merged.User == "" {
		merged.User = own.User
	}
	if len(merged.ExposedPorts) == 0 {
		merged.ExposedPorts = own.ExposedPorts
	}
	merged.Env = mergeEnv(own.Env, c.Env)
	merged.Labels = maps.Clone(own.Labels)
	for k, v := range c.Labels {
		if merged.Labels == nil {
			merged.Labels = map[string]string{}
		}
		merged.Labels[k] = v
	}
	if len(merged.Entrypoint) == 0 {
		if len(merged.Cmd) == 0 {
			merged.Cmd = own.Cmd
		}
		merged.Entrypoint = own.Entrypoint
	}
	if merged.Healthcheck == nil {
		merged.Healthcheck = own.Healthcheck
	}
	if merged.WorkingDir == "" {
		merged.WorkingDir = own.WorkingDir
	}
	if len(merged.Volumes) == 0 {
		merged.Volumes = own.Volumes
	}
	if merged.StopSignal == "" {
		merged.StopSignal = own.StopSignal
	}
	// Both forms have the same JSON; what an image has no place for is left out.
	data, err := json.Marshal(merged)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return out, fmt.Errorf("convert configuration: %w", err)
	}
	return out, nil
}
