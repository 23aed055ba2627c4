package container

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// List gives the containers that match, newest first.
func (s *Service) List(ctx context.Context, o engine.ContainerList) ([]container.Summary, error) {
	match, err := s.compile(o)
	if err != nil {
		return nil, err
	}
	type entry struct {
		record
		health *container.Health
	}
	var recs []entry
	for _, c := range s.all() {
		e := entry{c.view(), c.healthView()}
		if match(&e.record) && matchHealth(o.Filters["health"], e.health.Status) {
			recs = append(recs, e)
		}
	}
	slices.SortFunc(recs, func(a, b entry) int {
		if n := b.Created.Compare(a.Created); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	if o.Limit > 0 && len(recs) > o.Limit {
		recs = recs[:o.Limit]
	}
	out, links := make([]container.Summary, 0, len(recs)), s.linkNames()
	for i := range recs {
		sum, err := s.summary(ctx, &recs[i].record, recs[i].health, o.Size)
		if errs.Is(err, errs.NotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		sum.Names = names(&recs[i].record, links)
		out = append(out, sum)
	}
	return out, nil
}

func (s *Service) summary(ctx context.Context, r *record, health *container.Health, size bool) (container.Summary, error) {
	sum := container.Summary{
		ID: r.ID, Image: r.Config.Image, ImageID: r.ImageID, ImageManifestDescriptor: r.Manifest,
		Command: command(r), Created: r.Created.Unix(), Ports: ports(r), Labels: r.Config.Labels,
		State: r.State.Status, Status: status(r, health.Status, time.Now()), Mounts: apiMounts(r.Mounts),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: endpoints(r)},
	}
	if sum.Labels == nil {
		sum.Labels = map[string]string{}
	}
	sum.HostConfig.NetworkMode = string(r.Host.NetworkMode)
	sum.HostConfig.Annotations = r.Host.Annotations
	if health.Status != container.NoHealthcheck {
		sum.Health = &container.HealthSummary{Status: health.Status, FailingStreak: health.FailingStreak}
	}
	if size {
		var err error
		if sum.SizeRw, sum.SizeRootFs, err = s.Images.RootfsUsage(ctx, r.ID); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// command joins path and arguments; arguments with spaces are quoted as in Docker.
func command(r *record) string {
	var b strings.Builder
	b.WriteString(r.Path)
	for _, a := range r.Args {
		b.WriteByte(' ')
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}

func ports(r *record) []container.PortSummary {
	out := []container.PortSummary{}
	if !r.State.running() {
		return out
	}
	for p, bindings := range networkSettings(r).Ports {
		if len(bindings) == 0 {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bindings {
			var public uint16
			if _, err := fmt.Sscan(b.HostPort, &public); err != nil {
				continue
			}
			out = append(out, container.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), PublicPort: public, Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		if a.PrivatePort != b.PrivatePort {
			return int(a.PrivatePort) - int(b.PrivatePort)
		}
		return strings.Compare(a.Type+a.IP.String(), b.Type+b.IP.String())
	})
	return out
}

// status is the human form of the state, as `ps` shows it.
func status(r *record, health container.HealthStatus, now time.Time) string {
	st := r.State
	switch st.Status {
	case container.StateRunning:
		return "Up " + units.HumanDuration(now.Sub(st.StartedAt)) + healthStatus(health)
	case container.StatePaused:
		return "Up " + units.HumanDuration(now.Sub(st.StartedAt)) + " (Paused)"
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", st.ExitCode, units.HumanDuration(now.Sub(st.FinishedAt)))
	case container.StateRemoving:
		return "Removal In Progress"
	case container.StateDead:
		return "Dead"
	}
	if st.StartedAt.IsZero() {
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", st.ExitCode, units.HumanDuration(now.Sub(st.FinishedAt)))
}

func healthStatus(h container.HealthStatus) string {
	switch h {
	case container.NoHealthcheck:
		return ""
	case container.Starting:
		return " (health: starting)"
	}
	return " (" + string(h) + ")"
}

func matchHealth(want []string, h container.HealthStatus) bool {
	return len(want) == 0 || slices.Contains(want, string(h))
}
