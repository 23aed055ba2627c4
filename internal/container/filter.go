package container

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

type predicate func(*record) bool

// compile turns list options into one predicate. Values of one key are
// alternatives (but labels, which all must hold), keys are combined.
func (s *Service) compile(o engine.ContainerList) (predicate, error) {
	preds := []predicate{}
	for key, values := range o.Filters {
		if len(values) == 0 {
			continue
		}
		p, err := s.filter(key, values)
		if err != nil {
			return nil, err
		}
		preds = append(preds, p)
	}
	byState := len(o.Filters["status"]) > 0 || len(o.Filters["exited"]) > 0
	if !o.All && o.Limit <= 0 && !byState {
		preds = append(preds, func(r *record) bool { return r.State.running() || r.State.Status == container.StateRestarting })
	}
	return func(r *record) bool {
		for _, p := range preds {
			if !p(r) {
				return false
			}
		}
		return true
	}, nil
}

func (s *Service) filter(key string, values []string) (predicate, error) {
	anyOf := func(test func(r *record, v string) bool) (predicate, error) {
		return func(r *record) bool {
			return slices.ContainsFunc(values, func(v string) bool { return test(r, v) })
		}, nil
	}
	switch key {
	case "id":
		return anyOf(func(r *record, v string) bool { return strings.HasPrefix(r.ID, v) })
	case "name":
		return filterName(values), nil
	case "label":
		return func(r *record) bool {
			return !slices.ContainsFunc(values, func(v string) bool { return !hasLabel(r.Config.Labels, v) })
		}, nil
	case "status":
		for _, v := range values {
			if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
				return nil, errs.New(errs.InvalidArgument, "invalid filter 'status=%s': %w", v, err)
			}
		}
		return anyOf(func(r *record, v string) bool { return string(r.State.Status) == v })
	case "exited":
		return filterExited(values)
	case "ancestor":
		return s.filterAncestor(values)
	case "volume":
		return anyOf(func(r *record, v string) bool {
			return slices.ContainsFunc(r.Mounts, func(m mountPoint) bool { return m.Name == v || m.Destination == v || m.Source == v })
		})
	case "network":
		return anyOf(func(r *record, v string) bool {
			for name, ep := range endpoints(r) {
				if name == v || ep.NetworkID != "" && strings.HasPrefix(ep.NetworkID, v) {
					return true
				}
			}
			return false
		})
	case "publish", "expose":
		return filterPort(key, values)
	case "before", "since":
		return s.filterTime(key, values)
	case "health":
		for _, v := range values {
			if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
				return nil, errs.New(errs.InvalidArgument, "invalid filter 'health=%s': %w", v, err)
			}
		}
		return func(*record) bool { return true }, nil // List compares: health is not in the record
	case "is-task":
		return filterTask(values)
	case "isolation":
		return func(*record) bool { return true }, nil // all containers are alike on Linux
	}
	return nil, errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
}

// filterName takes regular expressions. What is none matches nothing, as in Docker.
func filterName(values []string) predicate {
	var res []*regexp.Regexp
	for _, v := range values {
		if re, err := regexp.Compile(v); err == nil {
			res = append(res, re)
		}
	}
	return func(r *record) bool {
		return slices.ContainsFunc(res, func(re *regexp.Regexp) bool {
			return re.MatchString("/"+r.Name) || re.MatchString(r.Name)
		})
	}
}

// filterTask: no container is a swarm's.
func filterTask(values []string) (predicate, error) {
	wanted := false
	for _, v := range values {
		switch v {
		case "1", "true":
		case "0", "false":
			wanted = true
		default:
			return nil, errs.New(errs.InvalidArgument, "invalid filter 'is-task=[%s]'", v)
		}
	}
	return func(*record) bool { return wanted }, nil
}

func filterExited(values []string) (predicate, error) {
	var codes []int
	for _, v := range values {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "invalid filter 'exited=%s': %w", v, err)
		}
		codes = append(codes, n)
	}
	return func(r *record) bool {
		return !r.State.running() && !r.State.StartedAt.IsZero() && slices.Contains(codes, r.State.ExitCode)
	}, nil
}

func (s *Service) filterAncestor(values []string) (predicate, error) {
	ids := map[string]bool{}
	for _, v := range values {
		img, err := s.Images.Resolve(context.Background(), v, nil)
		if err == nil {
			ids[img.ID] = true
		}
	}
	return func(r *record) bool { return ids[r.ImageID] }, nil
}

// filterPort is for the keys publish and expose.
func filterPort(key string, values []string) (predicate, error) {
	type span struct {
		lo, hi uint64
		proto  string
	}
	var spans []span
	for _, v := range values {
		nums, proto, _ := strings.Cut(v, "/")
		if proto == "" {
			proto = "tcp"
		}
		lo, hi, ok := strings.Cut(nums, "-")
		if !ok {
			hi = lo
		}
		a, err := strconv.ParseUint(lo, 10, 16)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "error while looking up for %s %s: %w", key, v, err)
		}
		b, err := strconv.ParseUint(hi, 10, 16)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "error while looking up for %s %s: %w", key, v, err)
		}
		spans = append(spans, span{a, b, proto})
	}
	in := func(num uint64, proto string) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return num >= s.lo && num <= s.hi && proto == s.proto })
	}
	return func(r *record) bool {
		if key == "expose" {
			for p := range r.Config.ExposedPorts {
				if in(uint64(p.Num()), string(p.Proto())) {
					return true
				}
			}
			return false
		}
		return slices.ContainsFunc(ports(r), func(p container.PortSummary) bool { return in(uint64(p.PublicPort), p.Type) })
	}, nil
}

func (s *Service) filterTime(key string, values []string) (predicate, error) {
	c, err := s.find(values[0])
	if err != nil {
		return nil, err
	}
	pivot := c.view().Created
	return func(r *record) bool {
		if key == "before" {
			return r.Created.Before(pivot)
		}
		return r.Created.After(pivot)
	}, nil
}

// hasLabel tests "key" or "key=value".
func hasLabel(labels map[string]string, want string) bool {
	k, v, valued := strings.Cut(want, "=")
	got, ok := labels[k]
	return ok && (!valued || got == v)
}

func matchLabels(f engine.Filters, labels map[string]string) bool {
	for _, want := range f["label"] {
		if !hasLabel(labels, want) {
			return false
		}
	}
	for _, not := range f["label!"] {
		if hasLabel(labels, not) {
			return false
		}
	}
	return true
}
