package container

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/errs"
)

// Top lists the container's processes with the host's ps, never with a program
// of the container. args are ps's own.
func (s *Service) Top(ctx context.Context, id, args string) (container.TopResponse, error) {
	c, err := s.find(id)
	if err != nil {
		return container.TopResponse{}, err
	}
	r := c.view()
	if !r.State.running() {
		return container.TopResponse{}, errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	if args == "" {
		args = "-ef"
	}
	pids, err := s.Supervisor.Pids(ctx, r.ID)
	if err != nil {
		return container.TopResponse{}, err
	}
	list := make([]string, len(pids))
	for i, p := range pids {
		list[i] = strconv.Itoa(p)
	}
	out, err := exec.CommandContext(ctx, "ps", append(strings.Fields(args), "-q"+strings.Join(list, ","))...).Output()
	if err != nil { // -q does not go with every option: take all and choose
		if out, err = exec.CommandContext(ctx, "ps", strings.Fields(args)...).Output(); err != nil {
			return container.TopResponse{}, psError(args, err)
		}
	}
	resp, err := parsePS(string(out), list)
	if err == nil {
		s.publish(&r, events.ActionTop)
	}
	return resp, err
}

// psError is what ps says of its arguments, without its advice.
func psError(args string, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("run ps %s: %w", args, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
	return errs.New(errs.Internal, "ps: %s", line)
}

// parsePS picks the lines of the given pids from ps's table. The last column
// may contain spaces.
func parsePS(out string, pids []string) (container.TopResponse, error) {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	resp := container.TopResponse{Titles: strings.Fields(lines[0]), Processes: [][]string{}}
	col := slices.Index(resp.Titles, "PID")
	if col < 0 {
		return resp, errs.New(errs.InvalidArgument, "Couldn't find PID field in ps output")
	}
	n := len(resp.Titles)
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) < n || !slices.Contains(pids, f[col]) {
			continue
		}
		resp.Processes = append(resp.Processes, append(f[:n-1:n-1], strings.Join(f[n-1:], " ")))
	}
	return resp, nil
}
